//! Values with variables: `for={client-address};proto={scheme}`. Parsed once, when the plugin is configured.
//!
//! `{{` and `}}` stand for a brace. A variable names a part of the request as the SDK's `Input` does, so that the words are the
//! same wherever a plugin's settings name one.

use tidegate_sdk::{Input, field};

#[derive(Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(Vec<u8>),
    /// By its number among the inputs.
    Variable(usize),
}

/// The things to ask the host for, each once.
#[derive(Debug, Default)]
pub struct Inputs(pub Vec<Input>);

impl Inputs {
    pub fn number(&mut self, input: Input) -> usize {
        let known = self.0.iter().position(|known| *known == input);
        known.unwrap_or_else(|| {
            self.0.push(input);
            self.0.len() - 1
        })
    }
}

/// Where a template is used: some things are known of a response only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

impl Template {
    pub fn parse(text: &str, side: Side, inputs: &mut Inputs) -> Result<Template, String> {
        field::value(text)?;
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                literal.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let end = tail.find('}').filter(|_| tail.starts_with('{'));
            let end = end
                .ok_or("has a brace without its partner; write `{{` or `}}` for a brace itself")?;
            parts.push(Part::Text(std::mem::take(&mut literal).into_bytes()));
            parts.push(Part::Variable(
                inputs.number(variable(&tail[1..end], side)?),
            ));
            rest = &tail[end + 1..];
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal.into_bytes()));
        parts.retain(|part| *part != Part::Text(Vec::new()));
        Ok(Template(parts))
    }

    /// None when nothing is left, for the variables are absent, and when more is left than a field may have: a client must not be
    /// able to blow a head up.
    pub fn fill<'a>(&self, value: impl Fn(usize) -> Option<&'a [u8]>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(input) => out.extend_from_slice(value(*input).unwrap_or_default()),
            }
            if out.len() > field::LONGEST {
                return None;
            }
        }
        clean(&mut out);
        let value = out.trim_ascii();
        (!value.is_empty()).then(|| value.to_vec())
    }
}

/// A decoded query parameter may hold anything. What may not stand in a field becomes a space (RFC 9110, 5.5): sent on, a line
/// feed would begin a header of the client's choice.
fn clean(value: &mut [u8]) {
    for byte in value {
        if byte.is_ascii_control() && *byte != b'\t' {
            *byte = b' ';
        }
    }
}

fn variable(name: &str, side: Side) -> Result<Input, String> {
    let input = match name {
        "tls-server-name" => Input::ServerNameIndication,
        name => name
            .parse()
            .map_err(|refusal: String| format!("{refusal}, `tls-server-name`"))?,
    };
    match (side, &input) {
        (Side::Request, Input::Status | Input::Server) => Err(format!(
            "`{{{name}}}` is known of a response only; use it under `response`"
        )),
        _ => Ok(input),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, value: &[u8]) -> Option<String> {
        let template = Template::parse(text, Side::Request, &mut Inputs::default()).unwrap();
        template
            .fill(|_| Some(value))
            .map(|v| String::from_utf8(v).unwrap())
    }

    fn refusal(text: &str) -> String {
        Template::parse(text, Side::Request, &mut Inputs::default()).unwrap_err()
    }

    #[test]
    fn variables_stand_between_text() {
        assert_eq!(filled("{client-address}", b"::1").as_deref(), Some("::1"));
        assert_eq!(filled("a {host}{path} z", b"b").as_deref(), Some("a bb z"));
        assert_eq!(
            filled("{{host}} {{{host}}}", b"b").as_deref(),
            Some("{host} {b}")
        );
        assert_eq!(filled("plain", b"").as_deref(), Some("plain"));
    }

    #[test]
    fn nothing_left_is_no_value() {
        assert_eq!(filled("", b"x"), None);
        assert_eq!(filled(" {cookie:id} ", b""), None);
        assert_eq!(
            Template::parse("{path}", Side::Request, &mut Inputs::default())
                .unwrap()
                .fill(|_| None),
            None
        );
        assert_eq!(
            filled("{path}", &[b'a'; field::LONGEST]).unwrap().len(),
            field::LONGEST
        );
        assert_eq!(filled("{path}{path}", &[b'a'; field::LONGEST]), None);
    }

    #[test]
    fn a_value_cannot_begin_another_header() {
        assert_eq!(
            filled("{query:x}", b"a\r\nset-cookie: b\0\x7f").as_deref(),
            Some("a  set-cookie: b")
        );
    }

    #[test]
    fn a_wrong_template_is_refused_with_what_is_known() {
        assert!(refusal("{client-adress}").contains("`client-address`"));
        assert!(refusal("{client-adress}").contains("`tls-server-name`"));
        assert!(refusal("{header}").contains("`header:NAME`"));
        assert!(refusal("{host").contains("write `{{`"));
        assert!(refusal("host}").contains("write `{{`"));
        assert!(refusal("{server}").contains("under `response`"));
        assert!(refusal("a\nb").contains("control character"));
        assert!(
            Template::parse("{server} {status}", Side::Response, &mut Inputs::default()).is_ok()
        );
    }
}
