//! WASI 0.2 for plugins built for wasm32-wasip2: clocks, randomness, and output that goes to the log by line. Everything
//! else is denied: no files, no network, no environment, no arguments. What is asked for is answered as a system would that
//! has none of it, as far as the function's type has a word for that; else the call traps.
//!
//! wasmtime-wasi is not used. Its synchronous functions start a runtime inside the worker's own, which panics, and its
//! asynchronous ones make every call of a plugin slower. Plugins need next to nothing of it: nothing here blocks.

use wasmtime::component::types::{self, ComponentItem, Type};
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceAny,
    ResourceType, Val,
};
use wasmtime::{Result, StoreContextMut};

use super::bindings::host::Level;
use super::guest::Guest;
use super::limits::Refusal;

/// Bytes of a line of output until it is logged without waiting for its end.
const LINE: usize = 4 << 10;

/// Random bytes of one call.
const MOST_RANDOM: u64 = 64 << 10;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const POLLABLE: u32 = 3;

/// What every handle refers to; its number says which of the above it is.
struct Handle;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "the type has this case; we never say it")]
    Failed(Resource<Handle>),
    #[component(name = "closed")]
    Closed,
}

/// Output since the last end of line.
#[derive(Default)]
pub(super) struct Output(Vec<u8>);

/// Defines what a component imports of WASI 0.2, whichever patch version it was built for.
pub(super) fn define(linker: &mut Linker<Guest>, component: &Component) -> Result<()> {
    let engine = component.engine();
    for (name, import) in component.component_type().imports(engine) {
        let Some((interface, version)) = name.split_once('@') else {
            continue;
        };
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        if !interface.starts_with("wasi:") || !version.starts_with("0.2.") {
            continue;
        }
        let mut at = linker.instance(name)?;
        for (item, found) in instance.exports(engine) {
            match found.ty {
                ComponentItem::ComponentFunc(_) => function(&mut at, interface, item)?,
                ComponentItem::Resource(_) => {
                    at.resource(item, ResourceType::host::<Handle>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn function(at: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> Result<()> {
    match name {
        // Typed, unlike the others, for what is written may be long.
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            at.func_wrap(name, write)
        }
        _ => {
            let path = format!("{interface}#{name}");
            at.func_new(name, move |mut store, ty, arguments, results| {
                let answer = answer(&mut store, &path, &ty, arguments)?;
                arguments
                    .iter()
                    .try_for_each(|a| give_back(&mut store, a))?;
                if let (Some(answer), Some(result)) = (answer, results.first_mut()) {
                    *result = answer;
                }
                Ok(())
            })
        }
    }
}

type Written = std::result::Result<(), StreamError>;

fn write(
    mut store: StoreContextMut<'_, Guest>,
    (stream, bytes): (Resource<Handle>, Vec<u8>),
) -> Result<(Written,)> {
    let (index, level) = match stream.rep() {
        STDOUT => (0, Level::Info),
        STDERR => (1, Level::Warn),
        _ => return Ok((Err(StreamError::Closed),)),
    };
    let guest = store.data_mut();
    let mut output = std::mem::take(&mut guest.output[index]);
    output.write(&bytes, |line| guest.say(level, line));
    guest.output[index] = output;
    Ok((Ok(()),))
}

/// Handles that a call was lent must be let go of before it returns.
fn give_back(store: &mut StoreContextMut<'_, Guest>, argument: &Val) -> Result<()> {
    match argument {
        Val::Resource(handle) => handle.resource_drop(store),
        Val::List(items) => items.iter().try_for_each(|item| give_back(store, item)),
        _ => Ok(()),
    }
}

/// The answer to a call of `INTERFACE#FUNCTION`. None: it has no result.
fn answer(
    store: &mut StoreContextMut<'_, Guest>,
    path: &str,
    ty: &types::ComponentFunc,
    arguments: &[Val],
) -> Result<Option<Val>> {
    let Some(result) = ty.results().next() else {
        return match path {
            "wasi:io/poll#[method]pollable.block" => Ok(None),
            "wasi:cli/exit#exit" => Err(refused("it exited")),
            _ => Err(refused(format!(
                "it called {path}, which does nothing here"
            ))),
        };
    };
    let handle = |store: &mut StoreContextMut<'_, Guest>, number| {
        ResourceAny::try_from_resource(Resource::<Handle>::new_own(number), store)
            .map(Val::Resource)
    };
    let known = match path {
        "wasi:cli/stdin#get-stdin" => handle(store, STDIN)?,
        "wasi:cli/stdout#get-stdout" => handle(store, STDOUT)?,
        "wasi:cli/stderr#get-stderr" => handle(store, STDERR)?,
        "wasi:io/streams#[method]output-stream.subscribe"
        | "wasi:io/streams#[method]input-stream.subscribe" => handle(store, POLLABLE)?,
        "wasi:io/streams#[method]output-stream.check-write" => done(Some(Val::U64(64 << 10))),
        "wasi:io/streams#[method]output-stream.flush"
        | "wasi:io/streams#[method]output-stream.blocking-flush" => done(None),
        "wasi:io/poll#[method]pollable.ready" => Val::Bool(true),
        "wasi:io/poll#poll" => all_ready(arguments),
        "wasi:clocks/monotonic-clock#now" => Val::U64(monotonic()),
        "wasi:clocks/monotonic-clock#resolution" => Val::U64(1),
        "wasi:clocks/wall-clock#now" => wall_clock(since_1970()),
        "wasi:clocks/wall-clock#resolution" => wall_clock(std::time::Duration::from_nanos(1)),
        _ if path.starts_with("wasi:random/") => random(store.data_mut(), path, arguments)?,
        _ => denied(&result)
            .ok_or_else(|| refused(format!("it called {path}, which plugins don't get")))?,
    };
    Ok(Some(known))
}

/// How a type says that there is none, or that it is not allowed.
fn denied(ty: &Type) -> Option<Val> {
    Some(match ty {
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Bool => Val::Bool(false),
        Type::Result(result) => Val::Result(Err(match result.err() {
            None => None,
            Some(Type::Enum(names)) => {
                let words = ["access-denied", "access", "not-permitted", "unsupported"];
                let name = words.iter().find(|w| names.names().any(|n| n == **w))?;
                Some(Box::new(Val::Enum((*name).to_owned())))
            }
            Some(Type::Variant(cases)) => {
                let words = ["closed", "access-denied"];
                let case = cases
                    .cases()
                    .find(|c| words.contains(&c.name) && c.ty.is_none())?;
                Some(Box::new(Val::Variant(case.name.to_owned(), None)))
            }
            Some(_) => return None,
        })),
        _ => return None,
    })
}

fn random(guest: &mut Guest, path: &str, arguments: &[Val]) -> Result<Val> {
    let word = || -> Result<u64> {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    match (path, arguments) {
        ("wasi:random/insecure#get-insecure-random-u64", _) => Ok(Val::U64(guest.random.next())),
        ("wasi:random/insecure-seed#insecure-seed", _) => {
            Ok(Val::Tuple(vec![Val::U64(word()?), Val::U64(word()?)]))
        }
        ("wasi:random/random#get-random-u64", _) => Ok(Val::U64(word()?)),
        (_, [Val::U64(size)]) if *size <= MOST_RANDOM => {
            let mut bytes = vec![0; *size as usize];
            fill(&mut bytes)?;
            Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
        }
        _ => Err(refused(format!("it asked {path} for more than 64 KiB"))),
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| refused(format!("the system has no random bytes: {e}")))
}

fn all_ready(arguments: &[Val]) -> Val {
    let count = match arguments {
        [Val::List(pollables)] => pollables.len() as u32,
        _ => 0,
    };
    Val::List((0..count).map(Val::U32).collect())
}

fn done(value: Option<Val>) -> Val {
    Val::Result(Ok(value.map(Box::new)))
}

fn wall_clock(time: std::time::Duration) -> Val {
    Val::Record(vec![
        ("seconds".to_owned(), Val::U64(time.as_secs())),
        ("nanoseconds".to_owned(), Val::U32(time.subsec_nanos())),
    ])
}

fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn refused(words: impl Into<String>) -> wasmtime::Error {
    Refusal(words.into()).into()
}

impl Output {
    /// Says each line that ends; keeps what follows the last end, within bounds.
    fn write(&mut self, mut bytes: &[u8], say: impl Fn(&str)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.0.extend_from_slice(&bytes[..end.min(LINE)]);
            say(String::from_utf8_lossy(&self.0).trim_end_matches('\r'));
            self.0.clear();
            bytes = &bytes[end + 1..];
        }
        let room = LINE.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.0.len() >= LINE {
            say(&String::from_utf8_lossy(&self.0));
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn output_is_said_by_line() {
        let said = RefCell::new(Vec::new());
        let say = |line: &str| said.borrow_mut().push(line.to_owned());
        let mut output = Output::default();
        output.write(b"one\r\ntw", say);
        output.write(b"o\n\nthree", say);
        assert_eq!(*said.borrow(), ["one", "two", ""]);
        output.write(&[b'x'; 3 * LINE], say);
        assert_eq!(said.borrow().last().unwrap().len(), LINE);
        assert!(output.0.is_empty());
    }
}
