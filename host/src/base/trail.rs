//! What was decided about a request, step by step, for whoever follows requests. While nobody does there is no trail, and all that a
//! request pays is one look at [`Followed`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Steps of one request that are kept; further ones are counted.
const MOST_STEPS: usize = 64;

/// Whether somebody follows requests. Written when somebody begins or ends, so that workers share the line it lies on.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Followed(AtomicBool);

impl Followed {
    #[inline]
    pub fn now(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub fn set(&self, followed: bool) {
        self.0.store(followed, Relaxed);
    }

    /// The trail of what begins now. None: nobody follows.
    #[inline]
    pub fn trail(&self, began: Instant) -> Option<Box<Trail>> {
        self.now().then(|| Box::new(Trail::new(began)))
    }
}

/// The steps of one request, in the order in which they were decided.
#[derive(Debug)]
pub struct Trail {
    began: Instant,
    steps: RefCell<Vec<Step>>,
    left_out: Cell<u32>,
    attempts: Cell<u32>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub role: Role,
    /// None: of an attempt.
    pub plugin: Option<Rc<str>>,
    /// From the request's first byte.
    pub at: Duration,
    pub verdict: Verdict,
    pub route: Option<Rc<str>>,
    pub pool: Option<Rc<str>>,
    pub server: Option<Rc<str>>,
    pub status: Option<u16>,
    /// What went wrong, in a word.
    pub fault: Option<&'static str>,
    /// The new path.
    pub path: Option<String>,
    /// Names of headers alone: values may be secrets.
    pub edits: Vec<String>,
    pub notes: Vec<(String, String)>,
    pub reason: Option<String>,
}

/// Defines an enum of words.
macro_rules! words {
    ($(#[$of:meta])* $name:ident { $($(#[$on:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$on])* $variant),* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),*];

            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }

            pub fn named(word: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

words! {
    /// Who was asked.
    Role {
        Connect => "connect",
        ListenerFilter => "listener-filter",
        Router => "router",
        RouteFilter => "route-filter",
        /// A filter had a call made.
        Fetch => "fetch",
        Sticky => "sticky",
        Balancer => "balancer",
        /// Nobody: a server was tried.
        Attempt => "attempt",
        ResponseFilter => "response-filter",
    }
}

words! {
    /// What came of it.
    Verdict {
        Accept => "accept",
        Refuse => "refuse",
        /// Nothing stands in its way.
        Continue => "continue",
        Pool => "pool",
        /// With an answer of its own.
        Respond => "respond",
        Server => "server",
        /// No server; of a sticky plugin, none is known.
        Nobody => "none",
        /// One that can't be used.
        Unusable => "unusable",
        /// Another proxy is asked.
        Elsewhere => "elsewhere",
        Remember => "remember",
        Answered => "answered",
        Failed => "failed",
    }
}

impl Trail {
    pub fn new(began: Instant) -> Trail {
        Trail {
            began,
            steps: RefCell::default(),
            left_out: Cell::new(0),
            attempts: Cell::new(0),
        }
    }

    /// What is told of began then.
    pub fn begun(&mut self, at: Instant) {
        self.began = at;
    }

    pub fn add(&self, mut step: Step) {
        if step.role == Role::Attempt {
            self.attempts.set(self.attempts.get() + 1);
        }
        let mut steps = self.steps.borrow_mut();
        if steps.len() >= MOST_STEPS {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return;
        }
        step.at = self.began.elapsed();
        steps.push(step);
    }

    /// A server was tried.
    pub fn tried(&self, server: Option<Rc<str>>, met: Result<Option<u16>, &'static str>) {
        let (verdict, status, fault) = match met {
            Ok(status) => (Verdict::Answered, status, None),
            Err(fault) => (Verdict::Failed, None, Some(fault)),
        };
        self.add(Step {
            server,
            status,
            fault,
            ..Step::of(Role::Attempt, None, verdict)
        });
    }

    /// How many attempts it tells of.
    pub fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    pub fn left_out(&self) -> u32 {
        self.left_out.get()
    }

    /// What `see` makes of the steps.
    pub fn with<T>(&self, see: impl FnOnce(&[Step]) -> T) -> T {
        see(&self.steps.borrow())
    }
}

impl Step {
    pub fn new(role: Role, plugin: &Rc<str>, verdict: Verdict) -> Step {
        Step::of(role, Some(plugin.clone()), verdict)
    }

    fn of(role: Role, plugin: Option<Rc<str>>, verdict: Verdict) -> Step {
        Step {
            role,
            plugin,
            at: Duration::ZERO,
            verdict,
            route: None,
            pool: None,
            server: None,
            status: None,
            fault: None,
            path: None,
            edits: Vec::new(),
            notes: Vec::new(),
            reason: None,
        }
    }
}

/// The fields of a request's head as the client sent them.
pub trait Sent {
    /// Whether there is one of that name (in lower case), and of that value if one is given.
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool;
}

/// What those see who follow requests, beside what everyone is told.
#[derive(Clone, Copy)]
pub struct Closely<'a> {
    pub trail: &'a Trail,
    /// None: it was no request.
    pub sent: Option<&'a dyn Sent>,
}

impl fmt::Debug for Closely<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trail.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_bounded_and_tells_what_it_leaves_out() {
        let followed = Followed::default();
        let now = Instant::now();
        assert!(followed.trail(now).is_none());
        followed.set(true);
        let trail = followed.trail(now).unwrap();
        let plugin: Rc<str> = "first".into();
        for _ in 0..MOST_STEPS + 3 {
            trail.add(Step::new(Role::Balancer, &plugin, Verdict::Server));
        }
        assert_eq!(trail.with(<[Step]>::len), MOST_STEPS);
        trail.tried(Some(plugin), Ok(Some(200)));
        assert_eq!((trail.left_out(), trail.attempts()), (4, 1));
    }

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::named(verdict.word()), Some(*verdict));
        }
        assert_eq!(Role::named("balancer"), Some(Role::Balancer));
        assert_eq!(Verdict::named("perhaps"), None);
    }
}
