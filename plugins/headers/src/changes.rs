//! What is changed on one side, request or response: as written in the settings, and checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_sdk::{Edit, Input, field};

use crate::template::{Inputs, Side, Template};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Written {
    remove: Vec<String>,
    set: BTreeMap<String, String>,
    set_if_absent: BTreeMap<String, String>,
    add: BTreeMap<String, OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// In the order in which they are applied: remove, set, set-if-absent, add.
#[derive(Debug)]
pub struct Changes {
    changes: Vec<Change>,
    /// What must be known of a request or response; templates speak of it by number.
    pub inputs: Inputs,
}

#[derive(Debug)]
struct Change {
    /// Lower case.
    name: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Remove,
    Set(Template),
    /// And the number of the field itself.
    SetIfAbsent(Template, usize),
    Add(Template),
}

/// Bytes of names and values that one call may set: the host takes 64 KiB and holds more against the plugin, so that a client
/// could have it put out of service.
const ROOM: usize = 60 * 1024;

/// Changes of one side; the host takes 128.
const MOST: usize = 128;

impl Changes {
    /// `key` is where this stands in the settings.
    pub fn new(written: Written, side: Side, key: &str) -> Result<Changes, String> {
        let mut inputs = Inputs::default();
        let mut changes = Vec::new();
        let mut take = |list: &str, written: &str, text: Option<&str>| {
            let change = change(list, written, text, side, &mut inputs);
            changes.push(change.map_err(|e| format!("key `{key}.{list}`: `{written}`: {e}"))?);
            Ok::<(), String>(())
        };
        for name in &written.remove {
            take("remove", name, None)?;
        }
        for (name, text) in &written.set {
            take("set", name, Some(text))?;
        }
        for (name, text) in &written.set_if_absent {
            take("set-if-absent", name, Some(text))?;
        }
        for (name, texts) in &written.add {
            for text in texts.list() {
                take("add", name, Some(text))?;
            }
        }
        each_name_once(&changes, key)?;
        match changes.len() {
            0..=MOST => Ok(Changes { changes, inputs }),
            count => Err(format!(
                "key `{key}`: {count} changes; one plugin makes at most {MOST}"
            )),
        }
    }

    /// A field that comes out empty is not sent, as with nginx's `proxy_set_header`: `set` then removes what the client sent
    /// under that name, so that it can't pass for the proxy's word.
    pub fn edits<'a>(&self, value: impl Fn(usize) -> Option<&'a [u8]>) -> Vec<Edit> {
        let mut room = ROOM;
        let mut fill = |template: &Template, name: &str| {
            let filled = template.fill(&value)?;
            room = room.checked_sub(name.len() + filled.len())?;
            Some(filled)
        };
        let edit = |Change { name, how }: &Change| match how {
            How::Remove => Some(Edit::Remove(name.clone())),
            How::Set(template) => Some(match fill(template, name) {
                Some(filled) => Edit::Set((name.clone(), filled)),
                None => Edit::Remove(name.clone()),
            }),
            How::SetIfAbsent(_, field) if value(*field).is_some() => None,
            How::SetIfAbsent(template, _) => Some(Edit::Set((name.clone(), fill(template, name)?))),
            How::Add(template) => Some(Edit::Append((name.clone(), fill(template, name)?))),
        };
        self.changes.iter().filter_map(edit).collect()
    }
}

impl OneOrMore {
    fn list(&self) -> &[String] {
        match self {
            OneOrMore::One(text) => std::slice::from_ref(text),
            OneOrMore::More(texts) => texts,
        }
    }
}

fn change(
    list: &str,
    written: &str,
    text: Option<&str>,
    side: Side,
    inputs: &mut Inputs,
) -> Result<Change, String> {
    let name = field::name(written)?;
    if side == Side::Request && SET_LAST.contains(&name.as_str()) {
        return Err(
            "the proxy sets it itself, after all plugins; give your own a name of its own, such as `x-client-ip`".to_owned(),
        );
    }
    let Some(text) = text else {
        return Ok(Change {
            name,
            how: How::Remove,
        });
    };
    let template = Template::parse(text, side, inputs)?;
    let how = match list {
        "set" => How::Set(template),
        "add" => How::Add(template),
        _ => How::SetIfAbsent(template, inputs.number(Input::Header(name.clone()))),
    };
    Ok(Change { name, how })
}

/// What the host says of the client to the server, whatever a plugin said.
const SET_LAST: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// But for `add`, which may stand beside the others and several times.
fn each_name_once(changes: &[Change], key: &str) -> Result<(), String> {
    let list = |change: &Change| match change.how {
        How::Remove => Some("remove"),
        How::Set(_) => Some("set"),
        How::SetIfAbsent(..) => Some("set-if-absent"),
        How::Add(_) => None,
    };
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for change in changes {
        let Some(list) = list(change) else { continue };
        if let Some(other) = seen.insert(&change.name, list) {
            return Err(format!(
                "key `{key}`: `{}` stands twice, in `{other}` and `{list}`; only one of them can be meant (`add` may stand beside them)",
                change.name
            ));
        }
    }
    Ok(())
}
