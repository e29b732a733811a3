//! Reading first, writing afterwards.
//!
//! One look at the sockets finds many that can be read. Were each request sent on as soon as it is read, whoever receives it would
//! be woken for it alone, and be asleep again before the next: a wake-up is dearer than anything else that a send costs. So what is
//! to be written waits until all that is ready has been read; then it goes out in one go, to peers that are awake after
//! the first. With nothing else ready it costs a look at an empty queue.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

thread_local! {
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Lets the tasks that can go on at the moment go first.
pub(super) async fn after_others() {
    let mut asked = false;
    poll_fn(|cx| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        YIELDED.set(true);
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls, and tells whether that has let others go first: it will be polled again whatever happens.
pub(super) fn yields<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
    YIELDED.set(false);
    let polled = poll();
    (polled, YIELDED.take())
}
