//! A plugin's allocator, in front of the target's own.
//!
//! A call brings a handful of small values, which are gone when it ends. The target's allocator takes some 180 instructions to find
//! a block and as many to take it back, which is half of what a plain router does for a request. Here a small block comes from
//! a list of those of its size that were given back lately, in a dozen instructions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes are rounded up to a multiple of this, and blocks are aligned to it.
const STEP: usize = 16;
/// Lists: for blocks of one step, of two, and so on.
const LISTS: usize = 16;
/// Blocks that a list holds at most, so that what was once in use does not stay away from larger blocks for good.
const MOST: u32 = 64;

pub struct Memory(UnsafeCell<[List; LISTS]>);

#[derive(Clone, Copy)]
struct List {
    first: *mut Free,
    count: u32,
}

/// A block that nobody uses holds the place of the next.
struct Free {
    next: *mut Free,
}

// SAFETY: a plugin's instance has one thread.
unsafe impl Sync for Memory {}

impl Memory {
    pub const fn new() -> Memory {
        let none = List {
            first: ptr::null_mut(),
            count: 0,
        };
        Memory(UnsafeCell::new([none; LISTS]))
    }
}

/// Which list, and what a block of it is to the allocator below. None: too large for any.
#[inline]
fn list_of(layout: Layout) -> Option<(usize, Layout)> {
    let number = layout.size().wrapping_sub(1) / STEP;
    if number >= LISTS || layout.align() > STEP {
        return None;
    }
    let whole = Layout::from_size_align((number + 1) * STEP, STEP).ok()?;
    Some((number, whole))
}

// SAFETY: a block belongs to the list that its layout names, so it is as large and as aligned as any of them, and it is either
// in that list or in use. No reference into the lists outlives the call that made it.
unsafe impl GlobalAlloc for Memory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((number, whole)) = list_of(layout) else {
            return unsafe { System.alloc(layout) };
        };
        let list = unsafe { &mut (*self.0.get())[number] };
        if list.first.is_null() {
            return unsafe { System.alloc(whole) };
        }
        let block = list.first;
        list.first = unsafe { (*block).next };
        list.count -= 1;
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((number, whole)) = list_of(layout) else {
            return unsafe { System.dealloc(block, layout) };
        };
        let list = unsafe { &mut (*self.0.get())[number] };
        if list.count == MOST {
            return unsafe { System.dealloc(block, whole) };
        }
        let block: *mut Free = block.cast();
        unsafe { (*block).next = list.first };
        list.first = block;
        list.count += 1;
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return ptr::null_mut();
        };
        match (list_of(layout), list_of(wanted)) {
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some((before, _)), Some((after, _))) if before == after => block,
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_block_given_back_is_the_next_of_its_size() {
        let memory = Memory::new();
        unsafe {
            let (first, second) = (memory.alloc(layout(20)), memory.alloc(layout(20)));
            assert_ne!(first, second);
            memory.dealloc(first, layout(20));
            assert_ne!(memory.alloc(layout(40)), first);
            assert_eq!(memory.alloc(layout(32)), first);
        }
    }

    #[test]
    fn what_is_in_use_is_nobody_elses_whatever_comes_and_goes() {
        let memory = Memory::new();
        let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::new();
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let check = |(block, size, mark): (*mut u8, usize, u8)| unsafe {
            let bytes = std::slice::from_raw_parts(block, size);
            assert!(bytes.iter().all(|b| *b == mark), "{size} bytes");
            assert_eq!(block as usize % 8, 0);
        };
        for turn in 0..20_000 {
            let (size, mark) = (1 + random(400), turn as u8);
            if blocks.len() < 300 && random(3) > 0 {
                let block = unsafe { memory.alloc(layout(size)) };
                unsafe { block.write_bytes(mark, size) };
                blocks.push((block, size, mark));
            } else if !blocks.is_empty() {
                let at = random(blocks.len());
                let known = blocks.swap_remove(at);
                check(known);
                let (block, before, kept) = known;
                if random(2) == 0 {
                    unsafe { memory.dealloc(block, layout(before)) };
                } else {
                    let moved = unsafe { memory.realloc(block, layout(before), size) };
                    check((moved, before.min(size), kept));
                    unsafe { moved.write_bytes(mark, size) };
                    blocks.push((moved, size, mark));
                }
            }
        }
        for known in blocks {
            check(known);
            unsafe { memory.dealloc(known.0, layout(known.1)) };
        }
        let lists = unsafe { &*memory.0.get() };
        assert!(lists.iter().all(|list| list.count <= MOST));
    }
}
