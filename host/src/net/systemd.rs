//! What systemd is told of the process, where it asks (sd_notify(3)): `Type=notify`, `Type=notify-reload`, `WatchdogSec=`; and the
//! sockets that it holds for us (sd_listen_fds(3)). Elsewhere all of this does nothing.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use sd_notify::NotifyState::{MonotonicUsec, Ready, Reloading, Status, Stopping, Watchdog};
use sd_notify::{NotifyState, listen_fds, notify, watchdog_enabled};
use socket2::{SockAddr, Socket};

/// It serves, as `status` says.
pub fn ready(status: &str) {
    tell(&[Ready, Status(status)]);
}

/// A reload was asked for; `ready` follows, whatever becomes of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now @ MonotonicUsec(_)) => tell(&[Reloading, now]),
        _ => tell(&[Reloading]),
    }
}

/// It takes no new connections.
pub fn stopping(status: &str) {
    tell(&[Stopping, Status(status)]);
}

/// Says that all is well, twice in each `WatchdogSec=`, as long as it is; if it isn't for that long, systemd ends the process and
/// starts it again. Never resolves.
pub async fn watchdog(is_well: impl Fn() -> bool) {
    let Some(limit) = watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut turns = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if is_well() {
            tell(&[Watchdog]);
        }
    }
}

/// The socket that listens at this address already, as a `.socket` unit has it. It outlives this process: connections that come while
/// another takes its place wait in its queue.
pub(super) fn listening_at(address: &SockAddr) -> Option<Socket> {
    static HELD: OnceLock<Vec<Socket>> = OnceLock::new();
    let held = HELD.get_or_init(held);
    let is_there = |socket: &&Socket| {
        let local = socket.local_addr();
        local.is_ok_and(|local| {
            local.as_socket() == address.as_socket() && local.as_pathname() == address.as_pathname()
        })
    };
    let socket = held.iter().find(is_there)?.try_clone();
    socket.inspect_err(cannot_use).ok()
}

fn held() -> Vec<Socket> {
    let numbers = listen_fds().inspect_err(cannot_use);
    let sockets = numbers.into_iter().flatten().map(|number| {
        // SAFETY: systemd has opened it for this very process, which it names, and nobody but us, once, makes it his own.
        Socket::from(unsafe { OwnedFd::from_raw_fd(number) })
    });
    sockets
        .filter(|socket| socket.is_listener().unwrap_or(false))
        .collect()
}

fn cannot_use(error: &std::io::Error) {
    tracing::error!(%error, "systemd's sockets can't be used; check the .socket unit");
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "systemd can't be told how the process does");
    }
}
