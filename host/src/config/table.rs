//! One declaration for a table of the file: the struct that holds it, the reader that fills it, and its JSON Schema, so
//! that code, documentation and editors can't disagree about a key or a default.
//!
//! Each key is one of
//!
//! | kind | the field's type | when the file lacks it |
//! |---|---|---|
//! | `required` | `Option<Located<T>>` | a problem; None |
//! | `optional` | `Key<T>` | `Key::Absent` |
//! | `default(TOML)` | `Located<T>` | the value of that TOML, at the table's place |
//!
//! A key's name is its field's with `-` for `_`.

macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $table:ident as $title:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty, $kind:ident $(($($default:tt)+))?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub(super) struct $table {
            $( $(#[doc = $doc])+ pub $key: table!(@type $kind $type), )+
            /// Of the whole table.
            #[allow(dead_code, reason = "not every table has problems of its own")]
            pub span: $crate::config::problem::Span,
        }

        impl $crate::config::read::Written for $table {
            fn expected() -> String {
                $crate::config::read::section($title)
            }

            fn read(
                value: &$crate::config::read::Value<'_>,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                static KEYS: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(|| {
                    vec![$(&*$crate::config::table::key(stringify!($key)).leak()),+]
                });
                let table = reader.table(value, $title, &KEYS)?;
                let mut keys = KEYS.iter().copied();
                let mut next = || keys.next().expect("as many keys as fields");
                Some($table {
                    $( $key: table!(@read $kind table reader (next()) $($($default)+)?), )+
                    span: table.span.clone(),
                })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }

        impl schemars::JsonSchema for $table {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($table).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::config::schema::table(
                    concat!($($about),+),
                    vec![$( $crate::config::schema::Entry {
                        key: $crate::config::table::key(stringify!($key)),
                        schema: <$type as $crate::config::read::Written>::schema(generator),
                        about: concat!($($doc),+),
                        takes: <$type as $crate::config::read::Written>::expected(),
                        required: stringify!($kind) == "required",
                        default: stringify!($($($default)+)?),
                    } ),+],
                )
            }
        }
    };

    (@type required $type:ty) => { Option<$crate::config::problem::Located<$type>> };
    (@type optional $type:ty) => { $crate::config::read::Key<$type> };
    (@type default $type:ty) => { $crate::config::problem::Located<$type> };

    (@read required $table:ident $reader:ident ($key:expr)) => { $table.required($reader, $key) };
    (@read optional $table:ident $reader:ident ($key:expr)) => { $table.optional($reader, $key) };
    (@read default $table:ident $reader:ident ($key:expr) $($default:tt)+) => {
        $table.or_default($reader, $key, stringify!($($default)+))
    };
}

pub(super) use table;

/// A key of the file from a field's name.
pub(super) fn key(field: &str) -> String {
    field.trim_start_matches("r#").replace('_', "-")
}
