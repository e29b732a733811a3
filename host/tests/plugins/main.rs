//! The plugin runtime without a socket: shipped plugins and the guests of `tests/guests`, prepared and asked as the
//! pipeline does it.

mod behaving;
mod failing;
mod live;
mod loading;
mod support;
mod swapping;
mod wasip2;
