//! What plugins keep in the host: the local store, tickets, counters. Process-wide; survives swaps.
