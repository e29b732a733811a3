//! What systemd is told of the process, where it asks (sd_notify(3)): `Type=notify`, `Type=notify-reload`, `WatchdogSec=`. Elsewhere
//! all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState::{MonotonicUsec, Ready, Reloading, Status, Stopping, Watchdog};
use sd_notify::{NotifyState, notify, watchdog_enabled};

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

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "systemd can't be told how the process does");
    }
}
