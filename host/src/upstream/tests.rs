//! Who gets which place, in which order, whatever races with it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::live::{Identity, InFlight};
use super::queue::{Call, Wait, Wants};
use super::vitals::Wanted;
use super::{Crew, LiveTable, Server};
use crate::config::checked::Passive;
use crate::hook::ServerState;

/// Servers of one pool with these limits, each of weight 1 and ready.
fn servers(limits: &[u32]) -> Vec<Arc<Server>> {
    let table = LiveTable::with_capacity(limits.len());
    let servers: Vec<_> = (0..limits.len())
        .map(|at| {
            let identity = Identity {
                pool: "app".into(),
                name: format!("s{at}"),
                address: "127.0.0.1:1".into(),
            };
            let server = table.server(identity).unwrap();
            server.set_weight(256);
            server.set_limit(limits[at]);
            server
        })
        .collect();
    let members = servers.iter().map(|server| (server, false));
    servers[0].crew().queue.set_members(members);
    servers
}

fn wait(crew: &Arc<Crew>, wants: &Wants<'_>) -> Wait {
    crew.wait(wants, 0, None).unwrap()
}

fn any(crew: &Arc<Crew>) -> Wait {
    wait(crew, &Wants::Any { not: &[] })
}

/// What it was told, if it was.
fn called(wait: &mut Wait) -> Option<Call> {
    match Pin::new(wait).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(call) => Some(call),
        Poll::Pending => None,
    }
}

fn admitted(wait: &mut Wait) -> Option<InFlight> {
    called(wait).map(|call| match call {
        Call::Admitted(place) => place,
        Call::Elsewhere => panic!("it is sent elsewhere"),
    })
}

#[test]
fn the_crew_of_a_pool_is_one_and_goes_with_its_servers() {
    let both = servers(&[1, 1]);
    assert!(Arc::ptr_eq(both[0].crew(), both[1].crew()));
}

#[test]
fn places_go_to_who_came_first_whatever_line_it_is_in() {
    let servers = servers(&[1, 1]);
    let crew = servers[0].crew().clone();
    let (on_a, on_b) = (servers[0].admit().unwrap(), servers[1].admit().unwrap());
    assert!(servers[0].admit().is_none());
    let mut waits = [
        any(&crew),
        wait(&crew, &Wants::Server(&servers[0])),
        any(&crew),
    ];
    assert_eq!(waits.each_ref().map(|wait| wait.ahead), [0, 0, 1]);
    assert_eq!(crew.queue.length(), 2);
    assert_eq!(crew.queue.length_at(servers[0].slot()), 1);
    drop(on_a);
    assert!(servers[0].admit().is_none(), "nobody overtakes");
    let first = admitted(&mut waits[0]).expect("the first for any");
    assert!(called(&mut waits[1]).is_none() && called(&mut waits[2]).is_none());
    drop(first);
    let second = admitted(&mut waits[1]).expect("the one for this server came before the other");
    drop(on_b);
    let third = admitted(&mut waits[2]).expect("the last, at the other server");
    assert_eq!(third.server().slot(), servers[1].slot());
    drop((second, third));
    assert!(!crew.queue.is_waited());
    assert!(servers.iter().all(|server| server.inflight() == 0));
}

#[test]
fn who_leaves_gives_up_its_place_even_one_that_it_was_just_given() {
    let servers = servers(&[1]);
    let crew = servers[0].crew().clone();
    let held = servers[0].admit().unwrap();
    let (first, second, mut third) = (any(&crew), any(&crew), any(&crew));
    drop(first);
    assert_eq!(crew.queue.length(), 2);
    drop(held);
    assert_eq!(crew.queue.length(), 1, "the second was called");
    drop(second);
    assert!(admitted(&mut third).is_some());
    assert!(!crew.queue.is_waited());
    assert_eq!(servers[0].inflight(), 0);
}

#[test]
fn a_line_has_a_bound_and_a_wait_that_goes_on_keeps_its_turn() {
    let servers = servers(&[1]);
    let crew = servers[0].crew().clone();
    let held = servers[0].admit().unwrap();
    let wants = Wants::Any { not: &[] };
    let first = crew.wait(&wants, 2, None).unwrap();
    let mut second = crew.wait(&wants, 2, None).unwrap();
    assert!(crew.wait(&wants, 2, None).is_err());
    let ticket = first.ticket();
    drop(first);
    let third = crew.wait(&wants, 2, None).unwrap();
    // Though others have come meanwhile.
    let mut again = crew.wait(&wants, 2, Some(ticket)).unwrap();
    drop(held);
    assert!(called(&mut second).is_none());
    assert!(admitted(&mut again).is_some());
    drop(third);
    assert!(admitted(&mut second).is_some());
}

#[test]
fn a_limit_that_is_raised_or_lifted_lets_in_who_waits() {
    let servers = servers(&[1]);
    let crew = servers[0].crew().clone();
    let _held = servers[0].admit().unwrap();
    let mut waits = [any(&crew), any(&crew), any(&crew)];
    servers[0].set_limit(2);
    crew.queue.look_again();
    let places = waits.each_mut().map(admitted);
    assert_eq!(places.iter().flatten().count(), 1);
    servers[0].set_limit(0);
    crew.queue.look_again();
    let [_, second, third] = &mut waits;
    let more = [admitted(second), admitted(third)];
    assert_eq!(more.iter().flatten().count(), 2);
    // Lowered below what is in flight: nobody comes in until there is room for it.
    servers[0].set_limit(1);
    drop(places);
    assert_eq!(servers[0].inflight(), 3);
    let mut last = any(&crew);
    drop(more);
    assert!(
        called(&mut last).is_none(),
        "the first of all is still there"
    );
}

#[test]
fn a_server_that_dies_sends_its_line_elsewhere_and_one_that_comes_back_serves() {
    let servers = servers(&[1, 1]);
    let crew = servers[0].crew().clone();
    let (on_a, _on_b) = (servers[0].admit().unwrap(), servers[1].admit().unwrap());
    let mut stuck = wait(&crew, &Wants::Server(&servers[0]));
    let mut other = any(&crew);
    servers[0].vitals.set_state(ServerState::Down);
    crew.queue.look_again();
    assert!(matches!(called(&mut stuck), Some(Call::Elsewhere)));
    drop(on_a);
    assert!(called(&mut other).is_none(), "nobody is sent to the dead");
    servers[0].vitals.set_state(ServerState::Ready);
    crew.queue.look_again();
    assert!(admitted(&mut other).is_some());
    // With every server down nobody waits for what won't come.
    let _on_a = servers[0].admit().unwrap();
    let mut last = any(&crew);
    for server in &servers {
        server.vitals.set_state(ServerState::Down);
    }
    crew.queue.look_again();
    assert!(matches!(called(&mut last), Some(Call::Elsewhere)));
}

#[test]
fn who_drains_or_has_no_weight_gets_nobody_from_the_pools_line() {
    let servers = servers(&[1, 1]);
    let crew = servers[0].crew().clone();
    let (on_a, on_b) = (servers[0].admit().unwrap(), servers[1].admit().unwrap());
    let mut stuck = wait(&crew, &Wants::Server(&servers[0]));
    let mut other = any(&crew);
    servers[0].vitals.set_wanted(Wanted::Drain);
    servers[0].vitals.set_state(ServerState::Drain);
    crew.queue.look_again();
    drop(on_a);
    let kept = admitted(&mut stuck).expect("it keeps its users");
    drop(kept);
    assert!(called(&mut other).is_none());
    drop(on_b);
    assert!(admitted(&mut other).is_some());
}

#[test]
fn backups_serve_only_where_no_other_server_may() {
    let servers = servers(&[1, 1]);
    let crew = servers[0].crew().clone();
    let members = servers.iter().zip([false, true]);
    crew.queue.set_members(members);
    let _on_a = servers[0].admit().unwrap();
    let mut waits = [
        any(&crew),
        wait(
            &crew,
            &Wants::Any {
                not: &[servers[0].slot()],
            },
        ),
    ];
    assert!(
        called(&mut waits[0]).is_none(),
        "it is not the backup's turn"
    );
    assert!(admitted(&mut waits[1]).is_some(), "it has tried the other");
}

#[test]
fn a_server_on_trial_takes_one_at_a_time() {
    let servers = servers(&[0]);
    servers[0].vitals.trial.set(2);
    servers[0].vitals.set_state(ServerState::Ready);
    let tried = servers[0].admit().unwrap();
    assert!(!servers[0].vitals.is_ready() && servers[0].admit().is_none());
    assert_eq!(servers[0].vitals.state(), ServerState::Ready);
    drop(tried);
    assert!(servers[0].vitals.is_ready() && servers[0].admit().is_some());
}

fn rules() -> Passive {
    Passive {
        max_fails: 1,
        window: Duration::from_secs(10),
        max_rate: 0,
        min_requests: 10,
        eject: Duration::from_secs(30),
        max_eject: Duration::from_secs(300),
        max_ejected: 100,
        trials: 1,
        on: Default::default(),
    }
}

#[test]
fn what_was_sent_before_an_ejection_says_nothing_after_it() {
    let servers = servers(&[0]);
    let (vitals, rules) = (&servers[0].vitals, rules());
    let mut before = [servers[0].enter(), servers[0].admit().unwrap()];
    vitals.set_ejected(true);
    vitals.set_ejected(false);
    vitals.trial.set(1);
    before[0].met(&rules, Some(true));
    before[1].met(&rules, Some(false));
    assert_eq!(vitals.trial.verdict(), None);
    let mut tried = servers[0].admit().unwrap();
    tried.met(&rules, Some(true));
    assert_eq!(vitals.trial.verdict(), Some(true));
    drop(before);
    assert_eq!(servers[0].inflight(), 1);
}

#[test]
fn the_next_one_is_tried_once_the_last_one_was_met_though_it_goes_on() {
    let servers = servers(&[0, 1]);
    let crew = servers[0].crew().clone();
    servers[0].vitals.trial.set(3);
    let _full = servers[1].admit().unwrap();
    let mut long = servers[0].admit().unwrap();
    let (mut second, mut third) = (any(&crew), any(&crew));
    assert!(called(&mut second).is_none());
    long.met(&rules(), Some(true));
    let second = admitted(&mut second).expect("the next");
    assert!(called(&mut third).is_none(), "one at a time");
    drop(second);
    let mut third = admitted(&mut third).expect("which said nothing of the server");
    assert_eq!(servers[0].vitals.trial.verdict(), None);
    third.met(&rules(), Some(false));
    assert_eq!(servers[0].vitals.trial.verdict(), Some(false));
    assert!(servers[0].admit().is_none());
    drop(long);
    assert!(servers[0].admit().is_none(), "and it gives back nothing");
}

/// One waits for a server on trial while the last place of before falls free, and another only glances at it: whoever finds the
/// place taken may have had the trial for a moment, and must not keep it from who waits.
#[test]
fn who_glances_at_a_trial_takes_it_from_nobody() {
    const ROUNDS: usize = 5_000;
    let servers = servers(&[1]);
    let (server, crew) = (&servers[0], servers[0].crew().clone());
    server.vitals.trial.set(u32::MAX);
    let (begin, end) = (Barrier::new(3), Barrier::new(3));
    let held = Mutex::new(None);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                begin.wait();
                drop(held.lock().unwrap().take());
                end.wait();
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                begin.wait();
                drop(server.admit());
                end.wait();
            }
        });
        let mut lost = 0;
        for _ in 0..ROUNDS {
            *held.lock().unwrap() = Some(server.enter());
            let mut wait = any(&crew);
            begin.wait();
            end.wait();
            lost += usize::from(called(&mut wait).is_none());
        }
        assert_eq!(lost, 0, "of {ROUNDS} were not called");
    });
}

/// A limit is raised, lowered and lifted, servers drain, die, are put on trial and come back, and some leave while they wait: nobody
/// is forgotten, and all places are given back.
#[test]
fn nobody_is_forgotten_whatever_changes() {
    const ROUNDS: usize = 8_000;
    let servers = servers(&[1, 2]);
    let queue = &servers[0].crew().queue;
    let ended = AtomicBool::new(false);
    let [served, sent_away] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|number| {
                let (servers, served, sent_away) = (&servers, &served, &sent_away);
                let all = (0..8).map(move |task| async move {
                    for round in 0..ROUNDS / 8 {
                        match come(servers, number + task + round).await {
                            Came::Served(mut place) => {
                                tokio::task::yield_now().await;
                                place.met(&rules(), Some(true));
                                served.fetch_add(1, SeqCst);
                            }
                            Came::SentAway => drop(sent_away.fetch_add(1, SeqCst)),
                            Came::Left => {}
                        }
                    }
                });
                scope.spawn(move || runtime().block_on(futures_util::future::join_all(all)))
            })
            .collect();
        scope.spawn(|| {
            for round in 0_u32.. {
                let server = &servers[round as usize % 2];
                let state = [ServerState::Ready, ServerState::Drain, ServerState::Down];
                server.set_limit([1, 3, 2, 0][round as usize / 2 % 4]);
                match round % 7 {
                    0 => server.vitals.set_ejected(true),
                    3 => server.vitals.trial.set(4),
                    5 => server.vitals.trial.lift(),
                    _ => {}
                }
                server.vitals.set_state(state[round as usize / 3 % 3]);
                queue.look_again();
                if ended.load(SeqCst) {
                    break;
                }
                thread::yield_now();
            }
            // Whoever waits now is served by what falls free.
            for server in &servers {
                server.vitals.trial.lift();
                server.vitals.set_state(ServerState::Ready);
                queue.look_again();
            }
        });
        let begun = Instant::now();
        let is_over = || clients.iter().all(|client| client.is_finished());
        while !is_over() && begun.elapsed() < Duration::from_secs(30) {
            // Half way the changes end: what is left must be served by places alone.
            ended.fetch_or(served.load(SeqCst) > ROUNDS, SeqCst);
            thread::yield_now();
        }
        ended.store(true, SeqCst);
        let forgotten = (!is_over()).then(|| queue.length());
        while !is_over() {
            for server in &servers {
                server.vitals.set_state(ServerState::Down);
            }
            queue.look_again();
        }
        assert_eq!(forgotten, None, "who waits for ever");
    });
    assert!(served.into_inner() > 0 && sent_away.into_inner() < ROUNDS * 3);
    assert!(servers.iter().all(|server| server.inflight() == 0));
    assert!(!queue.is_waited() && queue.length() == 0);
}

/// Four threads come, wait, are served, and leave in the middle of it, while limits change: never more than the limit, nobody is
/// forgotten, and no place is lost.
#[test]
fn no_place_is_lost_whatever_races() {
    const ROUNDS: usize = 3_000;
    let servers = servers(&[2, 3]);
    let (served, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let most = [AtomicU32::new(0), AtomicU32::new(0)];
    thread::scope(|scope| {
        for number in 0..4 {
            let (servers, served, left, most) = (&servers, &served, &left, &most);
            scope.spawn(move || {
                runtime().block_on(async {
                    let all = (0..8).map(|task| async move {
                        for round in 0..ROUNDS / 32 {
                            let way = number + task + round;
                            match come(servers, way).await {
                                Came::Served(place) => {
                                    let at = place.server().slot().0 as usize;
                                    most[at].fetch_max(servers[at].inflight(), SeqCst);
                                    if way.is_multiple_of(3) {
                                        tokio::task::yield_now().await;
                                    }
                                    served.fetch_add(1, SeqCst);
                                }
                                Came::Left => drop(left.fetch_add(1, SeqCst)),
                                Came::SentAway => panic!("no server is down"),
                            }
                        }
                    });
                    futures_util::future::join_all(all).await;
                });
            });
        }
    });
    assert_eq!(served.into_inner() + left.into_inner(), ROUNDS / 32 * 32);
    let most = most.map(AtomicU32::into_inner);
    assert!(most[0] <= 2 && most[1] <= 3, "{most:?}");
    assert!(servers.iter().all(|server| server.inflight() == 0));
    let queue = &servers[0].crew().queue;
    assert!(!queue.is_waited() && queue.length() == 0);
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

enum Came {
    Served(InFlight),
    SentAway,
    /// Before it was called.
    Left,
}

async fn come(servers: &[Arc<Server>], way: usize) -> Came {
    let server = &servers[way % 2];
    if let Some(place) = server.admit() {
        return Came::Served(place);
    }
    let wants = match way % 5 {
        0 => Wants::Server(server),
        _ => Wants::Any { not: &[] },
    };
    let mut wait = pin!(wait(server.crew(), &wants));
    let call = match way.is_multiple_of(7) {
        true => std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await,
        false => Poll::Ready(wait.await),
    };
    match call {
        Poll::Ready(Call::Admitted(place)) => Came::Served(place),
        Poll::Ready(Call::Elsewhere) => Came::SentAway,
        Poll::Pending => Came::Left,
    }
}

/// Those who wait are served in the order in which they came, though each waits on a thread of its own.
#[test]
fn first_come_first_served_across_threads() {
    let servers = servers(&[1]);
    let crew = servers[0].crew().clone();
    let held = servers[0].admit().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..40 {
            let wait = any(&crew);
            let order = &order;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let Call::Admitted(place) = runtime.block_on(wait) else {
                    panic!("the server is there");
                };
                order.lock().unwrap().push(number);
                drop(place);
            });
        }
        drop(held);
    });
    assert_eq!(order.into_inner().unwrap(), (0..40).collect::<Vec<_>>());
}
