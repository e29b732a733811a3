//! Reading first, writing afterwards.
//!
//! One look at the sockets finds many that can be read. Were each request sent on as soon as it is read, whoever receives it would
//! be woken for it alone, and be asleep again before the next: a wake-up is dearer than anything else that a send costs. So what is
//! to be written waits until all that is ready has been read; then it goes out in one go, to peers that are awake after
//! the first. With nothing else ready it costs a look at an empty queue.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the tasks that can go on at the moment go first.
pub(super) async fn after_others() {
    let mut asked = false;
    poll_fn(|cx| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
