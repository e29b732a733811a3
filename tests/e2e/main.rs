//! End-to-end tests: the built binary between real origins and real clients, told as short stories. One test binary, so that
//! the proxy's crates are linked once; a module a topic.
