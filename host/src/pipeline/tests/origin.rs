//! An origin that says what a test wants said.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::Client;

pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// One connection of the origin's: read and written as by a client, heads kept for the test.
pub struct Caller {
    pub stream: Client,
    /// From 0.
    pub number: usize,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// Serves each connection by `serve`.
    pub async fn start<F, S>(serve: S) -> Origin
    where
        S: Fn(Caller) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (count, kept) = (connections.clone(), heads.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let number = count.fetch_add(1, Relaxed);
                tokio::spawn(serve(Caller::new(socket, number, kept.clone())));
            }
        });
        Origin {
            address,
            connections,
            heads,
            task,
        }
    }

    /// Answers every request, after its head, with these bytes.
    pub async fn saying(answer: &'static str) -> Origin {
        Origin::start(move |mut caller| async move {
            while caller.head().await.is_some() {
                caller.stream.send(answer).await;
            }
        })
        .await
    }

    /// Answers with its name in the body.
    pub async fn named(name: &'static str) -> Origin {
        Origin::start(move |mut caller| async move {
            while caller.head().await.is_some() {
                let length = name.len();
                caller
                    .stream
                    .send(format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}"
                    ))
                    .await;
            }
        })
        .await
    }

    /// An address where nothing listens.
    pub async fn dead() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caller {
    fn new(socket: TcpStream, number: usize, heads: Arc<Mutex<Vec<String>>>) -> Caller {
        Caller {
            stream: Client::over(socket),
            number,
            heads,
        }
    }

    /// The next request's head. None: the connection has ended.
    pub async fn head(&mut self) -> Option<String> {
        let head = self.stream.next_head().await?;
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }
}
