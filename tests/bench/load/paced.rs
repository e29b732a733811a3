//! An open loop: requests are due at a constant rate, whatever becomes of those before, and a latency counts from when its
//! request was due. A proxy that stalls for 100 ms is charged for every request that was due in that time, where a client
//! that waits for an answer before it asks again would have charged it once (coordinated omission).
//!
//! One thread, epoll, and a timer that ticks once for each request. A request that finds all connections busy is sent as
//! soon as one is free.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::answer::Answer;
use super::request;
use crate::machine;

#[derive(Clone)]
pub struct Plan<'a> {
    pub port: u16,
    pub path: &'a str,
    pub connections: u32,
    /// Requests a second.
    pub rate: f64,
    /// What is due in this time at the start is sent and not counted.
    pub warm: Duration,
    pub time: Duration,
    /// How long requests may wait to be sent after the last was due, and then again for their answers.
    pub grace: Duration,
    pub cpu: usize,
}

#[derive(Debug)]
pub struct Paced {
    /// In the order in which the requests were due; of the unsent ones, how long they waited for a connection.
    pub latencies_us: Vec<f64>,
    /// Requests that were sent and did not get a complete 200.
    pub failures: u64,
    /// Requests that found no free connection until the end: the proxy did not keep up.
    pub unsent: u64,
}

pub fn run(plan: &Plan) -> Result<Paced, String> {
    let run = || {
        machine::pin(plan.cpu)?;
        Generator::new(plan)
            .and_then(Generator::run)
            .map_err(|e| format!("paced load: {e}"))
    };
    // A thread of its own, because the pinning is for good.
    std::thread::scope(|scope| scope.spawn(run).join().expect("the load does not panic"))
}

struct Generator {
    port: u16,
    request: String,
    epoll: OwnedFd,
    timer: OwnedFd,
    links: Vec<Link>,
    /// Those that wait for a request, the longest idle first, so that all take part.
    free: VecDeque<usize>,
    interval: Duration,
    grace: Duration,
    start: Instant,
    /// How many requests there are to be, and the first of them that counts.
    total: u32,
    counted: u32,
    sent: u32,
    ended: u32,
    /// With the numbers of their requests.
    latencies: Vec<(u32, Duration)>,
    failures: u64,
    scratch: Vec<u8>,
}

struct Link {
    stream: TcpStream,
    answer: Answer,
    /// The number of the request that is on its way.
    asked: Option<u32>,
}

/// What the timer's events carry, in place of a connection's number.
const TIMER: u64 = u64::MAX;
const AT_MOST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

impl Generator {
    fn new(plan: &Plan) -> io::Result<Generator> {
        let interval = Duration::from_secs_f64(1.0 / plan.rate);
        let requests = |time: Duration| (time.as_secs_f64() * plan.rate) as u32;
        let mut generator = Generator {
            port: plan.port,
            request: request(plan.port, plan.path),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            timer: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?,
            links: Vec::new(),
            free: (0..plan.connections as usize).collect(),
            interval,
            grace: plan.grace,
            start: Instant::now(),
            total: requests(plan.warm + plan.time),
            counted: requests(plan.warm),
            sent: 0,
            ended: 0,
            latencies: Vec::with_capacity(requests(plan.time) as usize),
            failures: 0,
            scratch: vec![0; 64 * 1024],
        };
        for number in 0..plan.connections as usize {
            let link = generator.connect(number)?;
            generator.links.push(link);
        }
        Ok(generator)
    }

    fn connect(&self, number: usize) -> io::Result<Link> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        Ok(Link {
            stream,
            answer: Answer::default(),
            asked: None,
        })
    }

    fn run(mut self) -> io::Result<Paced> {
        self.start_timer()?;
        let last = self.due(self.total) + self.grace;
        let mut events = Vec::with_capacity(self.links.len() + 1);
        loop {
            let now = Instant::now();
            if now < last {
                self.send_due()?;
            }
            let all_sent = self.sent == self.total || now >= last;
            if all_sent && self.ended == self.sent || now >= last + self.grace {
                return Ok(self.paced(last));
            }
            self.wait(&mut events)?;
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&AT_MOST)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in events {
            match event.data.u64() {
                TIMER => {}
                number => self.read(number as usize)?,
            }
        }
        Ok(())
    }

    /// `last` is when the last request was sent at the latest.
    fn paced(mut self, last: Instant) -> Paced {
        let unsent = self.sent.max(self.counted)..self.total;
        for number in unsent.clone() {
            let waited = last.saturating_duration_since(self.due(number));
            self.latencies.push((number, waited));
        }
        self.latencies.sort_unstable();
        let micros = |(_, latency): &(u32, Duration)| latency.as_secs_f64() * 1e6;
        Paced {
            latencies_us: self.latencies.iter().map(micros).collect(),
            failures: self.failures + u64::from(self.sent - self.ended),
            unsent: unsent.len() as u64,
        }
    }

    /// Edge-triggered, so that each tick wakes and none needs to be read.
    fn start_timer(&mut self) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&self.epoll, &self.timer, data, flags)?;
        let interval = Timespec {
            tv_sec: self.interval.as_secs() as i64,
            tv_nsec: i64::from(self.interval.subsec_nanos()),
        };
        let ticks = Itimerspec {
            it_interval: interval,
            it_value: interval,
        };
        // Taken before the timer is set, so that a tick never comes before its request is due.
        self.start = Instant::now();
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &ticks)?;
        Ok(())
    }

    fn due(&self, number: u32) -> Instant {
        self.start + self.interval * (number + 1)
    }

    fn send_due(&mut self) -> io::Result<()> {
        while self.sent < self.total && self.due(self.sent) <= Instant::now() {
            let Some(number) = self.free.pop_front() else {
                break;
            };
            let link = &mut self.links[number];
            link.asked = Some(self.sent);
            self.sent += 1;
            let written = link.stream.write(self.request.as_bytes());
            if written.ok() != Some(self.request.len()) {
                self.broken(number)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> io::Result<()> {
        let link = &mut self.links[number];
        match link.stream.read(&mut self.scratch) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            Ok(n) if n > 0 && link.asked.is_some() => match link.answer.take(&self.scratch[..n]) {
                Ok(false) => Ok(()),
                Ok(true) => {
                    self.answered(number);
                    Ok(())
                }
                Err(_) => self.broken(number),
            },
            _ => self.broken(number),
        }
    }

    fn answered(&mut self, number: usize) {
        let asked = self.links[number].asked.take();
        let asked = asked.expect("answers are read of links that have asked");
        self.ended += 1;
        self.free.push_back(number);
        if asked >= self.counted {
            self.latencies.push((asked, self.due(asked).elapsed()));
        }
    }

    /// Connects anew. A request that was on its way has failed; a connection that was closed while it was idle is nobody's failure.
    fn broken(&mut self, number: usize) -> io::Result<()> {
        let link = self.connect(number)?;
        let old = std::mem::replace(&mut self.links[number], link);
        if old.asked.is_some() {
            self.failures += 1;
            self.ended += 1;
            self.free.push_back(number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::machine::Cpus;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";

    /// A server that asks for each request, by its number, what to answer; all of its connections wait meanwhile.
    fn server(answer: impl Fn(u32) -> Option<&'static [u8]> + Send + Sync + 'static) -> u16 {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (answer, count) = (Arc::new(answer), Arc::new(Mutex::new(0)));
        std::thread::spawn(move || {
            for mut stream in socket.incoming().flatten() {
                let (answer, count) = (answer.clone(), count.clone());
                std::thread::spawn(move || {
                    // Requests are not pipelined, and small enough to arrive whole.
                    while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
                        let mut count = count.lock().unwrap();
                        *count += 1;
                        match answer(*count) {
                            Some(bytes) => stream.write_all(bytes).unwrap(),
                            None => break,
                        }
                    }
                });
            }
        });
        port
    }

    fn plan(port: u16) -> Plan<'static> {
        Plan {
            port,
            path: "/",
            connections: 2,
            rate: 500.0,
            warm: Duration::ZERO,
            time: Duration::from_millis(600),
            grace: Duration::from_millis(300),
            cpu: Cpus::found().map_or(0, |cpus| cpus.load()),
        }
    }

    #[test]
    fn a_stall_counts_for_every_request_that_was_due_in_it() {
        let port = server(|number| {
            if number == 50 {
                std::thread::sleep(Duration::from_millis(200));
            }
            Some(ANSWER)
        });
        let paced = run(&plan(port)).unwrap();
        assert_eq!((paced.latencies_us.len(), paced.failures), (300, 0));
        // 200 ms at 500 a second: 100 requests were due, of which three in four waited for 50 ms or more.
        let late = paced.latencies_us.iter().filter(|us| **us > 50e3).count();
        assert!(late >= 70, "{late} requests were late");
    }

    #[test]
    fn closed_connections_and_other_answers_are_failures() {
        let port = server(|number| match number {
            10 => None,
            20 => Some(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            _ => Some(ANSWER),
        });
        let paced = run(&plan(port)).unwrap();
        assert_eq!((paced.latencies_us.len(), paced.failures), (298, 2));
    }

    #[test]
    fn what_finds_no_connection_is_unsent_and_has_waited() {
        let port = server(|number| {
            if number == 51 {
                std::thread::sleep(Duration::from_secs(3));
            }
            Some(ANSWER)
        });
        let paced = run(&plan(port)).unwrap();
        // Both connections wait in vain; 250 of 300 were due after that, at 500 a second.
        assert_eq!((paced.failures, paced.unsent), (2, 248));
        let waits = &paced.latencies_us[50..];
        assert!(waits.windows(2).all(|pair| pair[0] > pair[1]), "{waits:?}");
        assert!(waits[0] > 700e3, "{}", waits[0]);
    }

    #[test]
    fn warming_up_is_not_counted() {
        let plan = Plan {
            warm: Duration::from_millis(200),
            time: Duration::from_millis(200),
            ..plan(server(|_| Some(ANSWER)))
        };
        assert_eq!(run(&plan).unwrap().latencies_us.len(), 100);
    }
}
