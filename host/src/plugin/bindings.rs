//! Rust types for `wit/`, generated; nothing here decides anything. One world joins all roles, so that they share their
//! types. The exports' own bindings are not used: `guest.rs` makes typed functions that borrow what they pass.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package tidegate:all;
        world everything {
            import tidegate:plugin/host@0.1.0;
            import tidegate:plugin/local-store@0.1.0;
            import tidegate:plugin/shared-store@0.1.0;
            import tidegate:plugin/crypto@0.1.0;
            import tidegate:plugin/probe-stream@0.1.0;
            export tidegate:plugin/plugin@0.1.0;
            export tidegate:plugin/stateful@0.1.0;
            export tidegate:plugin/connect@0.1.0;
            export tidegate:plugin/router@0.1.0;
            export tidegate:plugin/request-filter@0.1.0;
            export tidegate:plugin/response-filter@0.1.0;
            export tidegate:plugin/balancer@0.1.0;
            export tidegate:plugin/request-balancer@0.1.0;
            export tidegate:plugin/sticky@0.1.0;
            export tidegate:plugin/health@0.1.0;
            export tidegate:plugin/prober@0.1.0;
        }
    ",
    world: "tidegate:all/everything",
    imports: { "tidegate:plugin/probe-stream": async | trappable, default: trappable },
});

pub(super) use exports::tidegate::plugin::connect::Decision as Admission;
pub(super) use exports::tidegate::plugin::health::{Probe, Verdict};
pub(super) use exports::tidegate::plugin::plugin::{Context, Interest};
pub(super) use exports::tidegate::plugin::prober::{Finding as Probed, Standing, Target};
pub(super) use exports::tidegate::plugin::request_filter::{Fetch, FetchError, Step};
pub(super) use exports::tidegate::plugin::response_filter::ResponseOutcome;
pub(super) use exports::tidegate::plugin::router::Choice;
pub(super) use exports::tidegate::plugin::sticky::{Affinity, Binding, Finding};
pub(super) use tidegate::plugin::types::{
    Decision, Edit, Input, Note, Outcome, Reply, Server, ServerState,
};
pub(super) use tidegate::plugin::{crypto, host, local_store, probe_stream, shared_store};
