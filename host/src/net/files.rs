//! The limit of open files: every socket is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is worth a word: most systems allow far more.
const LOW: usize = 8192;

/// Raises the soft limit to the hard one, as HAProxy does and nginx's `worker_rlimit_nofile` asks for, and answers what holds
/// then. The soft limit is there for programs that call select(2), which cannot name a descriptor above 1023; nothing here
/// does.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let files = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
    if files < LOW {
        tracing::warn!(
            files,
            "the limit of open files is low; raise it with `LimitNOFILE=` (systemd) or `ulimit -Hn`"
        );
    }
    files
}
