//! The global allocator of a guest: dlmalloc, which begins in memory that an instance is born with.
//!
//! Growing the memory at the first allocation would be the dearest thing a small filter does in its life
//! (two `mprotect` calls, and a lock between all instances of the process), so the first [`ARENA_BYTES`]
//! come from the zeroed part of the initial memory, which costs nothing in the file. Only what is needed
//! beyond it grows the memory, up to the `memory` bound the operator set; then an allocation fails, and the
//! filter with it. Refuses nothing by itself.

#![allow(unsafe_code, reason = "an allocator; single-threaded, and the host sandboxes it anyway")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

use dlmalloc::{Allocator, Dlmalloc};

/// The unit in which dlmalloc asks for memory, so its first wish is always met from here.
const ARENA_BYTES: usize = 64 * 1_024;
const WASM_PAGE_BYTES: usize = 64 * 1_024;

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);
// SAFETY: a guest has one thread.
unsafe impl Sync for Arena {}
static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

/// Where dlmalloc gets its memory: the arena once, then `memory.grow`.
struct Source {
    arena_taken: UnsafeCell<bool>,
}

// SAFETY: memory that was handed out is never handed out again, and never taken back.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        // SAFETY: one thread, and no reference to the flag lives on.
        let taken = unsafe { self.arena_taken.get().replace(true) };
        if !taken && size <= ARENA_BYTES {
            return (ARENA.0.get().cast(), ARENA_BYTES, 0);
        }
        let pages = size.div_ceil(WASM_PAGE_BYTES);
        match core::arch::wasm32::memory_grow::<0>(pages) {
            usize::MAX => (core::ptr::null_mut(), 0, 0),
            page => ((page * WASM_PAGE_BYTES) as *mut u8, pages * WASM_PAGE_BYTES, 0),
        }
    }

    fn remap(&self, _at: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn free_part(&self, _at: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _at: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        WASM_PAGE_BYTES
    }
}

struct Guest(UnsafeCell<Dlmalloc<Source>>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Guest {}

#[global_allocator]
static GUEST: Guest =
    Guest(UnsafeCell::new(Dlmalloc::new_with_allocator(Source { arena_taken: UnsafeCell::new(false) })));

// SAFETY: dlmalloc's own contract is the one of `GlobalAlloc`; one thread, so each `&mut` is alone.
unsafe impl GlobalAlloc for Guest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(at, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(at, layout.size(), layout.align(), size) }
    }
}
