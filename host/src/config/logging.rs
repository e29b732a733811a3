//! Words of `[log]` that choose what a line holds: keys of the JSON format, and headers.

use schemars::{Schema, json_schema};

use super::read::{Fault, FromText};
use super::word::is_token;

/// The name of a header that is captured, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeaderField(pub String);

/// A header's name takes room in each line.
const LONGEST_NAME: usize = 64;

macro_rules! fields {
    ($($name:literal $field:ident),+ $(,)?) => {
        /// A key of the access log's JSON format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AccessField { $($field),+ }

        impl AccessField {
            /// All there are, in the order of a line.
            pub const ALL: &[AccessField] = &[$(AccessField::$field),+];

            pub fn name(self) -> &'static str {
                match self { $(AccessField::$field => $name),+ }
            }
        }

        super::word::words!(AccessField, "is no field of the access log", "field", $($name => AccessField::$field),+);
    };
}

fields! {
    "time" Time,
    "client" Client,
    "client_port" ClientPort,
    "peer" Peer,
    "listener" Listener,
    "route" Route,
    "pool" Pool,
    "server" Server,
    "method" Method,
    "target" Target,
    "host" Host,
    "version" Version,
    "status" Status,
    "bytes_in" BytesIn,
    "bytes_out" BytesOut,
    "body_bytes_out" BodyBytesOut,
    "head_us" Head,
    "queue_us" Queue,
    "connect_us" Connect,
    "first_byte_us" FirstByte,
    "total_us" Total,
    "attempts" Attempts,
    "generation" Generation,
    "reasons" Reasons,
    "notes" Notes,
    "termination" Termination,
    "fault" Fault,
    "request_id" RequestId,
    "user_agent" UserAgent,
    "referer" Referer,
    "request_headers" RequestHeaders,
    "response_headers" ResponseHeaders,
    "trace_id" TraceId,
}

impl FromText for HeaderField {
    fn form() -> String {
        "a header's name such as \"x-tenant\"".to_owned()
    }

    fn from_text(text: &str) -> Result<HeaderField, Fault> {
        if let Some(name) = text.strip_suffix(':')
            && is_token(name)
        {
            return Err(Fault::new(
                "has a colon, which is no part of a name",
                format!("write {name:?}"),
            ));
        }
        if !is_token(text) || text.len() > LONGEST_NAME {
            return Err(Fault::new(
                "is no header's name",
                format!(
                    "write {}, of {LONGEST_NAME} characters at most",
                    Self::form()
                ),
            ));
        }
        Ok(HeaderField(text.to_ascii_lowercase()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$" })
    }
}
