//! Three small origins on ephemeral ports. Each says its name, in the body and in `x-origin`, and answers `/health`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use axum::Router;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub struct Origin {
    pub name: &'static str,
    pub address: SocketAddr,
}

const NAMES: [&str; 3] = ["origin-1", "origin-2", "origin-3"];

/// They run on a thread of their own, to the end of the process.
pub fn start() -> io::Result<Vec<Origin>> {
    let mut origins = Vec::new();
    let mut listeners = Vec::new();
    for name in NAMES {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        origins.push(Origin {
            name,
            address: listener.local_addr()?,
        });
        listeners.push((name, listener));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("origins".into())
        .spawn(move || runtime.block_on(serve(listeners)))?;
    Ok(origins)
}

async fn serve(listeners: Vec<(&'static str, TcpListener)>) {
    let mut serving = tokio::task::JoinSet::new();
    for (name, listener) in listeners {
        let app = Router::new()
            .route("/health", get(async move || named(name, "ok\n".into())))
            .fallback(async move || named(name, format!("hello from {name}\n")));
        serving.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, app).await
        });
    }
    while let Some(ended) = serving.join_next().await {
        tracing::error!(?ended, "an origin of the demo has ended");
    }
}

fn named(name: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert("x-origin", HeaderValue::from_static(name));
    response
}
