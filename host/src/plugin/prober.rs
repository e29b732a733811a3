//! Probers: `probe-stream` of the WIT, and a probe as `health` asks for it.
//!
//! ```text
//!   guest ──send, receive──▶ Talk ──orders──▶ serve ──▶ the stream, which stays on its thread
//!   (its own stack)           bounds           ▲
//!                                              └── both run in the probe's own task, and end with it
//! ```
//!
//! Guests wait here, as nowhere else: on the thread that probes, while others are probed. So each probe under way has an instance to
//! itself (`WorkerPlugin::lend`). A probe that is given up takes its instance with it, since the guest stands in the middle of a
//! call.

use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use wasmtime::Result;

use crate::hook::{Failure, ProbeTarget, Probed, Prober, Wire};

use super::bindings::{self as said, probe_stream};
use super::checks;
use super::guest::Guest;
use super::limits::Refusal;
use super::slot::WorkerPlugin;

/// What one probe may do.
const MOST_CALLS: u32 = 1_000;
const MOST_SENT: usize = 64 << 10;
const MOST_RECEIVED: usize = 1 << 20;
const MOST_AT_ONCE: usize = 64 << 10;

/// The guest's end of the stream, while it probes.
pub(super) struct Talk {
    orders: mpsc::Sender<Order>,
    calls: u32,
    sent: usize,
    received: usize,
}

/// A stream can't leave its thread, and what a guest waits for must be able to: so the guest asks for what is to be done.
pub(super) enum Order {
    Send(Vec<u8>, oneshot::Sender<Told<()>>),
    Receive(usize, oneshot::Sender<Told<Vec<u8>>>),
}

/// Done, or how the connection is broken.
type Told<T> = std::result::Result<T, String>;

impl Talk {
    fn new() -> (Talk, mpsc::Receiver<Order>) {
        let (orders, given) = mpsc::channel(1);
        let talk = Talk {
            orders,
            calls: 0,
            sent: 0,
            received: 0,
        };
        (talk, given)
    }

    fn may_call(&mut self) -> Result<()> {
        self.calls += 1;
        within(self.calls <= MOST_CALLS, || {
            format!("it sends and receives more than {MOST_CALLS} times in a probe")
        })
    }

    async fn send(&mut self, data: Vec<u8>) -> Result<Told<()>> {
        self.may_call()?;
        self.sent = self.sent.saturating_add(data.len());
        within(self.sent <= MOST_SENT, || {
            format!("it sends more than {MOST_SENT} bytes in a probe")
        })?;
        Ok(self.ask(|told| Order::Send(data, told)).await)
    }

    async fn receive(&mut self, most: u32) -> Result<Told<Vec<u8>>> {
        self.may_call()?;
        let most = most as usize;
        within((1..=MOST_AT_ONCE).contains(&most), || {
            format!("it receives {most} bytes at once; 1 to {MOST_AT_ONCE} may be")
        })?;
        let told = self.ask(|told| Order::Receive(most, told)).await;
        self.received += told.as_ref().map_or(0, Vec::len);
        within(self.received <= MOST_RECEIVED, || {
            format!("it receives more than {MOST_RECEIVED} bytes in a probe")
        })?;
        Ok(told)
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<Told<T>>) -> Order) -> Told<T> {
        let (told, answer) = oneshot::channel();
        let gone = || "the probe is over".to_owned();
        self.orders.send(order(told)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn within(is: bool, words: impl FnOnce() -> String) -> Result<()> {
    match is {
        true => Ok(()),
        false => Err(Refusal(words()).into()),
    }
}

impl probe_stream::Host for Guest {
    async fn send(&mut self, data: Vec<u8>) -> Result<Told<()>> {
        let had = self.time.pause();
        let told = match &mut self.talk {
            Some(talk) => talk.send(data).await,
            None => no_stream(),
        };
        self.time.resume(had);
        told
    }

    async fn receive(&mut self, most: u32) -> Result<Told<Vec<u8>>> {
        let had = self.time.pause();
        let told = match &mut self.talk {
            Some(talk) => talk.receive(most).await,
            None => no_stream(),
        };
        self.time.resume(had);
        told
    }
}

fn no_stream<T>() -> Result<T> {
    Err(Refusal("it asks for a stream while it probes nobody".to_owned()).into())
}

/// Does what the guest asks for; never ends by itself.
async fn serve(mut wire: Box<dyn Wire>, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        // Who asked is there still, or the whole probe is given up.
        match order {
            Order::Send(data, told) => drop(told.send(sent(&mut wire, &data).await)),
            Order::Receive(most, told) => drop(told.send(received(&mut wire, most).await)),
        }
    }
    std::future::pending().await
}

async fn sent(wire: &mut Box<dyn Wire>, data: &[u8]) -> Told<()> {
    wire.write_all(data).await.map_err(words)?;
    wire.flush().await.map_err(words)
}

async fn received(wire: &mut Box<dyn Wire>, most: usize) -> Told<Vec<u8>> {
    let mut data = vec![0; most];
    let length = wire.read(&mut data).await.map_err(words)?;
    data.truncate(length);
    Ok(data)
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

impl Prober for WorkerPlugin {
    fn probe<'a>(
        &'a self,
        target: ProbeTarget<'a>,
        wire: Box<dyn Wire>,
    ) -> LocalBoxFuture<'a, std::result::Result<Probed, Failure>> {
        let target = said::Target {
            pool: target.pool.to_owned(),
            server: target.server.to_owned(),
            address: target.address.to_owned(),
        };
        async move {
            let (mut ready, limit) = self.lend().await?;
            let (talk, orders) = Talk::new();
            let serve = pin!(serve(wire, orders));
            let answer = tokio::select! {
                biased;
                answer = ready.guest.probe(&target, talk, limit) => answer,
                () = serve => return Err(Failure::Failed),
            };
            match answer.and_then(checks::probed) {
                Ok(probed) => {
                    self.take_back(ready);
                    Ok(probed)
                }
                Err(fault) => {
                    self.broke(&fault);
                    Err(Failure::Failed)
                }
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_guest_asks_for_is_done_in_turn() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut talk, orders) = Talk::new();
        let told = async {
            talk.send(b"PING".to_vec()).await.unwrap().unwrap();
            let mut asked = [0; 4];
            theirs.read_exact(&mut asked).await.unwrap();
            theirs.write_all(b"PONG").await.unwrap();
            assert_eq!(&asked, b"PING");
            let first = talk.receive(2).await.unwrap().unwrap();
            drop(theirs);
            let second = talk.receive(9).await.unwrap().unwrap();
            let end = talk.receive(9).await.unwrap().unwrap();
            (first, second, end)
        };
        let told = tokio::select! {
            told = told => told,
            () = serve(Box::new(ours), orders) => unreachable!("it never ends"),
        };
        assert_eq!(told, (b"PO".to_vec(), b"NG".to_vec(), Vec::new()));
    }

    #[tokio::test]
    async fn a_probe_has_bounds() {
        let (mut talk, orders) = Talk::new();
        drop(orders);
        assert!(talk.send(vec![0; MOST_SENT + 1]).await.is_err());
        assert!(talk.receive(0).await.is_err());
        assert!(talk.receive(MOST_AT_ONCE as u32 + 1).await.is_err());
        let (mut talk, orders) = Talk::new();
        drop(orders);
        for _ in 0..MOST_CALLS {
            assert!(talk.receive(1).await.unwrap().is_err(), "nobody serves");
        }
        assert!(talk.receive(1).await.is_err());
    }
}
