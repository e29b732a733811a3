//! What the data path reports. Steps emit typed events to an injected observer; nothing there names who listens.
