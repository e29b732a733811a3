//! What a worker keeps for each address of a server, for as long as somebody holds it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

pub(super) struct ByAddress<T> {
    known: RefCell<HashMap<Rc<str>, Weak<T>>>,
    /// Of the clock that sweeps are.
    tick: Cell<u32>,
}

impl<T> Default for ByAddress<T> {
    fn default() -> Self {
        ByAddress {
            known: RefCell::default(),
            tick: Cell::new(0),
        }
    }
}

impl<T: Default> ByAddress<T> {
    pub fn to(&self, address: &Rc<str>) -> Rc<T> {
        let mut known = self.known.borrow_mut();
        if let Some(kept) = known.get(address).and_then(Weak::upgrade) {
            return kept;
        }
        let fresh = Rc::<T>::default();
        known.insert(address.clone(), Rc::downgrade(&fresh));
        fresh
    }

    pub fn tick(&self) -> u32 {
        self.tick.get()
    }

    /// Has each looked at that somebody holds.
    pub fn each(&self, mut look: impl FnMut(&T)) {
        let known = self.known.borrow();
        known
            .values()
            .filter_map(Weak::upgrade)
            .for_each(|kept| look(&kept));
    }

    /// A tick has passed: has each looked at, and forgets those that nobody holds.
    pub fn sweep(&self, look: impl Fn(&T, u32)) {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        let mut known = self.known.borrow_mut();
        known.retain(|_, kept| {
            let kept = kept.upgrade();
            kept.iter().for_each(|kept| look(kept, tick));
            kept.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_nobody_uses_is_forgotten() {
        let all = ByAddress::<u8>::default();
        let kept = all.to(&"a:1".into());
        assert!(Rc::ptr_eq(&kept, &all.to(&"a:1".into())));
        assert!(!Rc::ptr_eq(&kept, &all.to(&"b:1".into())));
        all.sweep(|_, tick| assert_eq!(tick, 1));
        assert_eq!(all.known.borrow().len(), 1);
        drop(kept);
        all.sweep(|_, _| unreachable!("nobody holds it"));
        assert!(all.known.borrow().is_empty());
    }
}
