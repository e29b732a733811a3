//! The file as JSON, fit to be shown: what stands in a file or a variable is named, not given, and the token and what Redis and
//! the collector of traces ask for are left out.

use serde_json::{Map, Value};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Span;

const HIDDEN: &str = "<redacted>";

/// What is shown of a file.
pub(super) fn document(document: &DeValue<'_>) -> Value {
    let mut shown = value(document);
    if let Some(token) = shown
        .pointer_mut("/admin/token")
        .filter(|token| !token.is_object())
    {
        *token = HIDDEN.into();
    }
    if let Some(url) = shown.pointer_mut("/state/redis")
        && let Some(without) = url.as_str().and_then(without_login)
    {
        *url = without.into();
    }
    let headers = shown.pointer_mut("/tracing/headers");
    if let Some(headers) = headers.and_then(Value::as_object_mut) {
        let written = headers.values_mut().filter(|value| !value.is_object());
        written.for_each(|value| *value = HIDDEN.into());
    }
    shown
}

/// Where the admin's token, the URL of Redis and headers for the collector of traces are written out.
pub(super) fn secrets(document: &DeValue<'_>) -> Vec<Span> {
    let headers = document
        .get("tracing")
        .and_then(|tracing| tracing.get_ref().get("headers"));
    let headers = headers.and_then(|headers| headers.get_ref().as_table());
    let headers = headers.into_iter().flat_map(DeTable::values);
    let headers = headers
        .filter(|value| value.get_ref().is_str())
        .map(Spanned::span);
    let places = [("admin", "token"), ("state", "redis")];
    let spans = places.iter().filter_map(|(section, key)| {
        let value = document.get(section)?.get_ref().get(key)?;
        value.get_ref().is_str().then(|| value.span())
    });
    spans.chain(headers).collect()
}

/// A URL whose user and password are not to be seen.
fn without_login(url: &str) -> Option<String> {
    let (_, host) = url.rsplit_once('@')?;
    let scheme = url.split_once("://").map_or("redis", |(scheme, _)| scheme);
    Some(format!("{scheme}://{HIDDEN}@{host}"))
}

fn object(table: &DeTable<'_>) -> Map<String, Value> {
    let entries = table.iter();
    entries
        .map(|(key, item)| (key.get_ref().to_string(), value(item.get_ref())))
        .collect()
}

pub(super) fn value(toml: &DeValue<'_>) -> Value {
    match toml {
        DeValue::Table(table) => Value::Object(object(table)),
        DeValue::Array(array) => array.iter().map(|item| value(item.get_ref())).collect(),
        other => scalar(other).unwrap_or_else(|| other.type_str().into()),
    }
}

/// None: JSON has no such thing (infinity, not-a-number, an integer beyond 64 bits), or it is no scalar.
pub(super) fn scalar(toml: &DeValue<'_>) -> Option<Value> {
    match toml {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Boolean(flag) => Some((*flag).into()),
        DeValue::Datetime(time) => Some(time.to_string().into()),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            let signed = i64::from_str_radix(digits, radix).map(Value::from);
            let value = signed.or_else(|_| u64::from_str_radix(digits, radix).map(Value::from));
            value.ok()
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
