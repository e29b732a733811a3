//! `GET /api/v1/explain`: what is asked there, as a question to the workers.

use std::net::IpAddr;

use http::{HeaderName, Method, Uri};

use crate::pipeline::Question;

const KNOWN: &str =
    "known are: url (needed), method, header (NAME: VALUE, as often as needed), listener, client";

/// Err: what is wrong, and the remedy.
pub fn question(asked: &[(String, String)]) -> Result<Question, String> {
    let mut url = None;
    let mut question = Question {
        scheme: "http",
        listener: None,
        method: Method::GET,
        host: String::new(),
        target: String::new(),
        fields: Vec::new(),
        client: IpAddr::from([127, 0, 0, 1]),
    };
    for (key, value) in asked {
        match key.as_str() {
            "url" => url = Some(value),
            "method" => question.method = method(value)?,
            "header" => question.fields.push(field(value)?),
            "listener" => question.listener = Some(value.clone()),
            "client" => question.client = client(value)?,
            _ => return Err(format!("\"{key}\" is not known here; {KNOWN}")),
        }
    }
    let url = url.ok_or_else(|| format!("url is missing; {KNOWN}"))?;
    (question.scheme, question.host, question.target) = parts(url)?;
    Ok(question)
}

/// Scheme, host and path of `http://host/path?query`.
fn parts(url: &str) -> Result<(&'static str, String, String), String> {
    let no_url = || format!("\"{url}\" is no URL; write http://HOST/PATH");
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let authority = uri.authority().ok_or_else(no_url)?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let scheme = match uri.scheme_str() {
        Some("https") => "https",
        _ => "http",
    };
    Ok((scheme, authority.to_string(), target.to_owned()))
}

fn method(value: &str) -> Result<Method, String> {
    Method::from_bytes(value.as_bytes()).map_err(|_| format!("\"{value}\" is no method"))
}

fn field(value: &str) -> Result<(HeaderName, Vec<u8>), String> {
    let wrong = || format!("\"{value}\" is no header; write NAME: VALUE");
    let (name, value) = value.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = value.trim().as_bytes();
    let sane = value
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 127));
    sane.then(|| (name, value.to_vec())).ok_or_else(wrong)
}

fn client(value: &str) -> Result<IpAddr, String> {
    value
        .parse()
        .map_err(|_| format!("\"{value}\" is no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(asked: &[(&str, &str)]) -> Result<Question, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        question(&asked.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_url_becomes_a_question() {
        let question = of(&[
            ("url", "https://shop.example:8443/a?b=c"),
            ("method", "POST"),
            ("header", "x-tenant: blue"),
            ("client", "2001:db8::1"),
        ])
        .unwrap();
        assert_eq!(question.host, "shop.example:8443");
        assert_eq!(question.scheme, "https");
        assert_eq!(question.target, "/a?b=c");
        assert_eq!(question.method, Method::POST);
        assert_eq!(question.fields[0].0, "x-tenant");
        assert_eq!(question.fields[0].1, b"blue");
        assert_eq!(of(&[("url", "http://a")]).unwrap().target, "/");
    }

    #[test]
    fn what_is_no_question_is_refused_with_words() {
        for (asked, says) in [
            (&[][..], "url is missing"),
            (&[("url", "/path")], "is no URL"),
            (&[("url", "http://a/"), ("header", "x")], "NAME: VALUE"),
            (
                &[("url", "http://a/"), ("header", "x: a\r\nb: c")],
                "is no header",
            ),
            (
                &[("url", "http://a/"), ("client", "somebody")],
                "is no IP address",
            ),
            (&[("url", "http://a/"), ("colour", "red")], "known are"),
        ] {
            let error = of(asked).unwrap_err();
            assert!(error.contains(says), "{asked:?}: {error}");
        }
    }
}
