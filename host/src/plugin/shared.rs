//! What is counted of a plugin, over its workers.

use std::fmt;
use std::time::Duration;

/// The figures of one plugin of one generation, over all its workers.
pub struct PluginShared {}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Router,
    RequestFilter,
    ResponseFilter,
    Balancer,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Trap,
    /// Past its CPU limit.
    Cpu,
    /// Past its memory or table limit.
    Memory,
    /// Recursed too deep.
    Stack,
    /// It said what it may not say.
    BadAnswer,
}

impl PluginShared {
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn sha256(&self) -> [u8; 32] {
        todo!()
    }
    pub fn calls(&self, _role: Role) -> u64 {
        todo!()
    }
    pub fn failures(&self, _cause: Cause) -> u64 {
        todo!()
    }
    /// Time in the calls that were timed (one in 64), and how many those are.
    pub fn time(&self, _role: Role) -> (Duration, u64) {
        todo!()
    }
    /// Instances of this generation that exist now.
    pub fn instances(&self) -> usize {
        todo!()
    }
    /// Workers on which it is quarantined now.
    pub fn quarantined(&self) -> usize {
        todo!()
    }
}

impl Role {
    pub const ALL: [Role; 4] = [
        Role::Router,
        Role::RequestFilter,
        Role::ResponseFilter,
        Role::Balancer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::RequestFilter => "request-filter",
            Role::ResponseFilter => "response-filter",
            Role::Balancer => "balancer",
        }
    }
}

impl Cause {
    pub const ALL: [Cause; 5] = [
        Cause::Trap,
        Cause::Cpu,
        Cause::Memory,
        Cause::Stack,
        Cause::BadAnswer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Cause::Trap => "trap",
            Cause::Cpu => "cpu",
            Cause::Memory => "memory",
            Cause::Stack => "stack",
            Cause::BadAnswer => "bad-answer",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
