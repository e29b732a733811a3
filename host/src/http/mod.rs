//! The HTTP message, HTTP/1 over hyper (the data path's only use of it), connection pools to the servers.
