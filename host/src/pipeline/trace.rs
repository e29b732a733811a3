//! A request's place in a trace, by W3C Trace Context: what it says of one is read, it is decided whether it is sampled, and the
//! server is told of a span of ours as its parent. A trace whose spans are not wanted here passes unchanged.

use http::HeaderName;

use super::exchange::Exchange;
use crate::base::event::Trace;
use crate::config::checked::Sampling;
use crate::http::Fields;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Flags of a traceparent: sampled, and that the id's end is random.
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

pub struct Traced {
    id: u128,
    parent: Option<u64>,
    span: u64,
    call: u64,
    sampled: bool,
    scheme: &'static str,
}

/// What came with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Context {
    id: u128,
    parent: u64,
    flags: u8,
}

/// A request whose head is safe begins, or goes on with, a trace.
pub fn begin(sampling: Sampling, exchange: &mut Exchange) {
    let record = &mut exchange.record;
    let worker = record.worker.clone();
    let fields = &mut record.head.fields;
    let came = context(fields);
    // Zero is no id.
    let random = || worker.random().max(1);
    let id = match came {
        Some(came) => came.id,
        None => u128::from(random()) << 64 | u128::from(random()),
    };
    let sampled = match came {
        Some(came) if sampling.parent_based => came.flags & SAMPLED != 0,
        _ => sampling.takes(id),
    };
    let call = random();
    if came.is_none() {
        // It belongs to a trace that can't be told (3.3 of the recommendation).
        fields.remove(&TRACESTATE);
    }
    // Those after us hold to what is decided where a trace begins.
    if sampled || came.is_none() {
        let flags = came.map_or(0, |came| came.flags & RANDOM) | u8::from(sampled);
        fields.set(
            &TRACEPARENT,
            format!("00-{id:032x}-{call:016x}-{flags:02x}"),
        );
    }
    record.trace = Some(Box::new(Traced {
        id,
        parent: came.map(|came| came.parent),
        span: random(),
        call,
        sampled,
        scheme: exchange.scheme,
    }));
}

impl Traced {
    /// `server_address` is where the server is that answered.
    pub fn told<'a>(&self, server_address: Option<&'a str>) -> Trace<'a> {
        Trace {
            id: self.id,
            parent: self.parent,
            span: self.span,
            call: self.call,
            sampled: self.sampled,
            scheme: self.scheme,
            server_address,
        }
    }
}

/// None: there is none, or one that is no good, or several.
fn context(fields: &Fields) -> Option<Context> {
    let mut all = fields.all(&TRACEPARENT);
    let one = all.next()?;
    if all.next().is_some() {
        return None;
    }
    parse(one)
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; later versions may go on after that.
fn parse(text: &[u8]) -> Option<Context> {
    let text = str::from_utf8(text).ok()?;
    let (known, more) = text.split_at_checked(55)?;
    let mut parts = known.split('-');
    let mut part = |length| {
        parts
            .next()
            .filter(|part| part.len() == length && is_hex(part))
    };
    let (version, id, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let fits = match version {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.is_empty() || more.starts_with('-'),
    };
    let id = u128::from_str_radix(id, 16).ok()?;
    let parent = u64::from_str_radix(parent, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (fits && id != 0 && parent != 0).then_some(Context { id, parent, flags })
}

/// Of lower case, as it is to be.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: &str| parse(text.as_bytes());
        let good = of(&format!("00-{id}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(format!("{:032x}", good.id), id);
        assert_eq!((good.parent, good.flags), (0x00f0_67aa_0ba9_02b7, 1));
        assert!(of(&format!("01-{id}-00f067aa0ba902b7-00-more")).is_some());
        for bad in [
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("01-{id}-00f067aa0ba902b7-00more"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{id}-00f067aa0ba902b7-0"),
            format!("00-{id}-+0f067aa0ba902b7-01"),
            format!("00_{id}-00f067aa0ba902b7-01"),
            "é".repeat(40),
            String::new(),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_of_the_ids_is_sampled() {
        let of = |share| {
            let sampling = Sampling::new(share, true);
            let ids = (0..10_000_u128).map(|n| n * 7_205_759_403_793);
            ids.filter(|id| sampling.takes(*id | 3 << 70)).count()
        };
        assert_eq!((of(0.0), of(1.0)), (0, 10_000));
        let half = of(0.5);
        assert!((4_000..6_000).contains(&half), "{half}");
    }
}
