//! What the proxy would refuse of a plugin's answer. In a test that is the plugin's mistake, and the test fails; in the proxy the
//! call fails, as if the plugin had trapped.

use crate::bindings::request_filter::exports::tidegate::plugin::request_filter as wit;
use crate::{Context, Decision, Edit, Input, Interest, Note, Outcome, Route, Standing, Step};

const MOST_INPUTS: usize = 64;
const MOST_NAME: usize = 256;
const MOST_FIELDS: usize = 128;
const MOST_FIELD_BYTES: usize = 64 << 10;
const MOST_BODY: usize = 1 << 20;
const MOST_NOTES: usize = 32;
const MOST_TARGET: usize = 16 << 10;

type Checked = Result<(), String>;

/// Passes what the proxy would take.
pub(super) fn expect(checked: Checked) {
    if let Err(words) = checked {
        panic!("the proxy would refuse this answer: {words}");
    }
}

pub(super) fn interest(interest: &Interest) -> Checked {
    for inputs in [&interest.request, &interest.response, &interest.key] {
        if inputs.len() > MOST_INPUTS {
            return Err(format!(
                "the interest names {} inputs; {MOST_INPUTS} of a kind may be",
                inputs.len()
            ));
        }
        inputs.iter().try_for_each(input)?;
    }
    Ok(())
}

fn input(input: &Input) -> Checked {
    match input {
        Input::Header(name) | Input::RequestHeader(name) if !is_token(name) => Err(format!(
            "the interest names {name:?}, which is no header name"
        )),
        Input::QueryParameter(name)
        | Input::Cookie(name)
        | Input::Note(name)
        | Input::SetCookie(name)
            if name.is_empty() || name.len() > MOST_NAME =>
        {
            Err(format!(
                "the interest names {input}: a name has 1 to {MOST_NAME} bytes"
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn standing(standing: &Standing) -> Checked {
    match standing.percent() {
        Some(share) if !(1..=100).contains(&share) => {
            Err(format!("it gives a server {share} % of its weight"))
        }
        _ => Ok(()),
    }
}

pub(super) fn route(route: &Route, context: &Context) -> Checked {
    match route.route {
        Some(index) if index.0 as usize >= context.routes.len() => {
            Err(format!("route {} of {}", index.0, context.routes.len()))
        }
        _ => outcome(&route.outcome, context),
    }
}

pub(super) fn step(step: &Step, context: &Context) -> Checked {
    match step {
        Step::Done(done) => outcome(done, context),
        Step::Fetch(call, _) => fetch(&call.clone().into_wit(context), context),
        Step::DoneAndFetch(done, call, _) => {
            outcome(done, context)?;
            fetch(&call.clone().into_wit(context), context)
        }
        Step::LookUp(key, _) if key.len() > 1024 => {
            Err(format!("a look-up of a key of {} bytes", key.len()))
        }
        Step::LookUp(..) => Ok(()),
    }
}

fn fetch(fetch: &wit::Fetch, context: &Context) -> Checked {
    pool(fetch.pool, context)?;
    target(&fetch.path)?;
    if !is_token(&fetch.method) || fetch.method == "CONNECT" {
        return Err(format!("a fetch by method {:?}", fetch.method));
    }
    fields(
        fetch
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice())),
    )?;
    body(&fetch.body)
}

fn outcome(outcome: &Outcome, context: &Context) -> Checked {
    match &outcome.decision {
        Decision::Next => {}
        Decision::Pool(index) => pool(*index, context)?,
        Decision::Reply(reply) if !(200..=599).contains(&reply.status) => {
            return Err(format!(
                "a reply of status {}; 200 to 599 may be",
                reply.status
            ));
        }
        Decision::Reply(reply) => {
            fields(
                reply
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice())),
            )?;
            body(&reply.body)?;
        }
    }
    outcome.path.as_deref().map_or(Ok(()), target)?;
    edits(&outcome.edits)?;
    notes(&outcome.notes)
}

pub(super) fn edits(edits: &[Edit]) -> Checked {
    fields(edits.iter().map(|edit| match edit {
        Edit::Set((name, value)) | Edit::Append((name, value)) => (name.as_str(), value.as_slice()),
        Edit::Remove(name) => (name.as_str(), &[][..]),
        Edit::SetCookie((name, rest)) => (name.as_str(), rest.as_slice()),
    }))
}

pub(super) fn notes(notes: &[Note]) -> Checked {
    if notes.len() > MOST_NOTES {
        return Err(format!("{} notes; {MOST_NOTES} may be", notes.len()));
    }
    let good =
        |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    match notes.iter().find(|note| !good(&note.name)) {
        Some(note) => Err(format!(
            "a note named {:?}: a name has 1 to 64 printable characters",
            note.name
        )),
        None => Ok(()),
    }
}

fn fields<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone) -> Checked {
    let bytes: usize = fields
        .clone()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let count = fields.clone().count();
    if count > MOST_FIELDS || bytes > MOST_FIELD_BYTES {
        return Err(format!(
            "{count} header fields of {bytes} bytes; {MOST_FIELDS} of {MOST_FIELD_BYTES} bytes may be"
        ));
    }
    fields
        .into_iter()
        .try_for_each(|(name, value)| field(name, value))
}

fn field(name: &str, value: &[u8]) -> Checked {
    if !is_token(name) {
        return Err(format!("{name:?} is no header name"));
    }
    if HOST_FIELDS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("header `{name}` is the proxy's own"));
    }
    if value.iter().any(|b| *b != b'\t' && b.is_ascii_control()) {
        return Err(format!(
            "the value of header `{name}` holds control characters"
        ));
    }
    Ok(())
}

/// Framing and hop-by-hop fields (RFC 9110, 7.6.1; RFC 9112, 6).
const HOST_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

fn pool(index: u32, context: &Context) -> Checked {
    if index as usize >= context.pools.len() {
        return Err(format!("pool {index} of {}", context.pools.len()));
    }
    Ok(())
}

fn target(path: &str) -> Checked {
    let fits = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !path.starts_with('/') || path.len() > MOST_TARGET || !path.bytes().all(fits) {
        return Err(format!(
            "{path:?} is no path: it begins with \"/\", and what is not printable ASCII is percent-encoded"
        ));
    }
    Ok(())
}

fn body(body: &[u8]) -> Checked {
    if body.len() > MOST_BODY {
        return Err(format!("a body of {} bytes; 1 MiB may be", body.len()));
    }
    Ok(())
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use crate::{Fetch, PoolIndex, RouteIndex, next, reply};

    use super::*;

    fn context() -> Context {
        Context {
            name: "test".into(),
            pools: vec!["app".into()],
            routes: vec!["all".into()],
        }
    }

    fn words(said: impl Into<Step>) -> String {
        step(&said.into(), &context()).unwrap_err()
    }

    #[test]
    fn what_the_proxy_takes_passes() {
        let good = next()
            .set("x-a", "b\tc")
            .remove("cookie")
            .path("/a?b")
            .note("n", "v")
            .why("w");
        assert_eq!(step(&good.into(), &context()), Ok(()));
        assert_eq!(
            step(&Outcome::pool(PoolIndex(0)).into(), &context()),
            Ok(())
        );
        assert_eq!(
            step(&Fetch::pool("app").post("/x", "y").then(1), &context()),
            Ok(())
        );
    }

    #[test]
    fn what_it_refuses_is_named() {
        assert_eq!(
            words(next().set("Connection", "close")),
            "header `Connection` is the proxy's own"
        );
        assert_eq!(
            words(reply(204).set("content-length", "0")),
            "header `content-length` is the proxy's own"
        );
        assert_eq!(
            words(next().set("x", "a\r\nb")),
            "the value of header `x` holds control characters"
        );
        assert_eq!(words(next().set("x y", "a")), "\"x y\" is no header name");
        assert!(words(next().path("a")).contains("is no path"));
        assert!(words(next().path("/a b")).contains("is no path"));
        assert!(words(reply(100)).contains("status 100"));
        assert!(words(Outcome::pool(PoolIndex(1))).contains("pool 1 of 1"));
        assert!(words(reply(200).body(vec![0; MOST_BODY + 1])).contains("a body of"));
        assert!(words(next().note("a b", "c")).contains("a note named"));
        assert!(words(Fetch::pool("app").method("CONNECT", "/").then(0)).contains("CONNECT"));
        let taken = route(&Route::take(RouteIndex(1)), &context());
        assert_eq!(taken.unwrap_err(), "route 1 of 1");
    }

    #[test]
    fn an_interest_is_bounded_and_well_named() {
        let many = (0..65).fold(Interest::none(), |interest, n| {
            interest.header(format!("x-{n}"))
        });
        assert!(interest(&many).unwrap_err().contains("65 inputs"));
        assert!(
            interest(&Interest::none().header("x y"))
                .unwrap_err()
                .contains("no header name")
        );
        assert!(
            interest(&Interest::none().cookie(""))
                .unwrap_err()
                .contains("1 to 256 bytes")
        );
        assert_eq!(
            interest(&Interest::none().header("x").status().key(Input::Path)),
            Ok(())
        );
    }
}
