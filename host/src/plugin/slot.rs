//! A plugin's place on a worker.

use std::sync::Arc;

use crate::base::ids::{PoolIndex, Slot};
use crate::hook::{
    Balancer, Choice, Failure, FetchError, Reply, RequestFilter, RequestView, ResponseFilter,
    ResponseOutcome, ResponseView, Router, Step,
};

use super::shared::PluginShared;

/// A plugin on its worker: implements every hook trait, whichever roles it has; calling one that it lacks is
/// `Failure::Failed`.
pub struct WorkerPlugin {}

impl WorkerPlugin {
    /// Its state, for its next version. None: not stateful, or it failed.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        todo!()
    }
    pub fn shared(&self) -> &Arc<PluginShared> {
        todo!()
    }
}

impl Router for WorkerPlugin {
    fn route(&self, _request: &dyn RequestView) -> Result<Choice, Failure> {
        todo!()
    }
}

impl RequestFilter for WorkerPlugin {
    fn request(&self, _request: &dyn RequestView) -> Result<Step, Failure> {
        todo!()
    }
    fn resume(&self, _state: u64, _answer: Result<Reply, FetchError>) -> Result<Step, Failure> {
        todo!()
    }
    fn may_fetch(&self, _pool: PoolIndex) -> bool {
        todo!()
    }
}

impl ResponseFilter for WorkerPlugin {
    fn response(&self, _response: &dyn ResponseView) -> Result<ResponseOutcome, Failure> {
        todo!()
    }
}

impl Balancer for WorkerPlugin {
    fn pick(
        &self,
        _pool: PoolIndex,
        _request: &dyn RequestView,
        _random: u64,
        _tried: &[Slot],
    ) -> Result<Option<Slot>, Failure> {
        todo!()
    }
}
