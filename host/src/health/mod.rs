//! Whether servers are fit to be used: probes on a schedule (`probe`, `round`), judged by a
//! plugin where the pool has one (`judge`), ejection for what requests meet (`eject`),
//! the return at a growing weight (`ramp`), and what all that means for a pool as a whole (`ward`).
//!
//! It runs on one thread of its own, so that nothing here takes a worker's time and every decision about a pool is made in
//! one place, without a lock. What is decided is written into the servers' vitals, which the data path reads; whoever must be
//! told of it is told by the pool's name.

mod eject;
mod grpc;
mod judge;
mod probe;
mod ramp;
mod round;
mod ward;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use crate::config::checked::{Passive, Probe};
use crate::hook::HealthPlugin;
use crate::net::proxy;
use crate::tls;
use crate::upstream::{LiveTable, Server};

/// A hold on the thread, which ends when it is dropped.
pub struct Health {
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Watch(Plan),
    Assess(String, oneshot::Sender<()>),
}

/// All that is to be watched.
pub struct Plan {
    pub pools: Vec<PoolPlan>,
    /// Those that are new; others are known from the plan before.
    pub judges: Vec<(JudgeKey, MakeJudge)>,
    /// Plugins that exist; judges that are none of them are let go.
    pub living: Vec<JudgeKey>,
}

/// What makes a judge the same one in the next plan.
pub type JudgeKey = [u8; 32];

/// Makes a judge on the thread that asks it.
pub type MakeJudge = Box<dyn FnOnce() -> Rc<dyn HealthPlugin> + Send>;

/// A pool, and how its servers are to be watched.
#[derive(Clone)]
pub struct PoolPlan {
    pub name: String,
    pub probe: Option<Arc<Probe>>,
    /// Who judges its probes, or makes them.
    pub judge: Option<JudgeKey>,
    pub passive: Option<Arc<Passive>>,
    pub slow_start: Duration,
    /// Per cent; 0: none.
    pub panic_threshold: u32,
    pub servers: Vec<ServerPlan>,
}

#[derive(Clone)]
pub struct ServerPlan {
    pub live: Arc<Server>,
    /// 0: it is meant to take nobody.
    pub weight: u32,
    pub backup: bool,
    pub reach: Reach,
}

/// What its connections begin with.
#[derive(Clone, Default)]
pub struct Reach {
    /// The PROXY line that it gets; of ours, as a probe is for no client.
    pub proxy: Option<proxy::Version>,
    /// None: plain.
    pub tls: Option<Arc<tls::Connector>>,
    /// The Host of its probes, where that is not its address.
    pub host: Option<Arc<str>>,
}

impl Reach {
    /// Whether it is the same way.
    pub(crate) fn is(&self, other: &Reach) -> bool {
        let identity = |reach: &Reach| reach.tls.as_ref().map(|tls| tls.identity().to_owned());
        self.proxy == other.proxy && self.host == other.host && identity(self) == identity(other)
    }
}

/// Told the name of a pool where a server's state has changed.
pub type Changed = Box<dyn Fn(&str) + Send>;

impl Health {
    /// Nothing is watched yet.
    pub fn start(live: Arc<LiveTable>, changed: Changed) -> io::Result<Health> {
        let (orders, given) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("health".to_owned())
            .spawn(move || run(live, changed, given))?;
        Ok(Health { orders })
    }

    /// Watches these pools from now on, and no others. Servers that were watched before go on as they are.
    pub fn watch(&self, plan: Plan) {
        // The thread ends with us.
        let _ = self.orders.send(Order::Watch(plan));
    }

    /// What the operator wants of a server of this pool has changed. Returns once the servers' states say so.
    pub async fn assess(&self, pool: &str) {
        let (done, assessed) = oneshot::channel();
        let _ = self.orders.send(Order::Assess(pool.to_owned(), done));
        // No answer: the thread is gone, and with it all who could be told.
        let _ = assessed.await;
    }
}

fn run(live: Arc<LiveTable>, changed: Changed, mut orders: mpsc::UnboundedReceiver<Order>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "servers can't be probed");
            return;
        }
    };
    runtime.block_on(async move {
        let ward = ward::Ward::new(changed);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Watch(plan)) => ward.watch(plan),
                    Some(Order::Assess(pool, done)) => {
                        ward.assess(&pool);
                        let _ = done.send(());
                    }
                    None => return,
                },
                suspects = live.suspects() => {
                    suspects.iter().for_each(|server| ward.suspect(server));
                }
            }
        }
    });
}
