//! How many instances the machine can hold at once: pure arithmetic over what the kernel says.
//!
//! A live instance costs kernel mappings and address space long before it costs memory. When the mappings
//! run out, every later `mmap` of the whole process fails, the next large allocation with it, and the
//! process aborts: so a pool that could get there is refused at start, with the numbers.

use std::fmt;

use nix::sys::resource::{Resource, getrlimit};

/// Instances when the operator names no number and the machine allows it.
pub(super) const SLOTS_DEFAULT: u32 = 4_000;
/// Kernel mappings of one live instance: linear memory (image, data, heap, guard) and fiber stack with its
/// guard page. Measured on Linux 6.18 with wasmtime 48.
pub(super) const MAPPINGS_PER_SLOT: u64 = 6;
/// Left to the rest of the process: code, threads, allocator, compiled filters.
pub(super) const MAPPINGS_RESERVED: u64 = 8_192;
/// Reserved (not used) address space of one slot: 4 GiB of linear memory, its guard, tables and stack.
pub(super) const SLOT_ADDRESS_BYTES: u64 = (4 << 30) + (48 << 20);
/// Of the 128 TiB a process has on x86-64, what the pool may reserve.
pub(super) const ADDRESS_BYTES_MAX: u64 = 84 << 40;

/// Memory of one live instance of a small filter with its page tables (measured: 40 to 70 KiB).
pub(super) const SLOT_MEMORY_BYTES: u64 = 64 << 10;

/// What may stay resident in a free slot: up to what was measured to be worth it.
const KEEP_BYTES_MAX: usize = 1 << 20;
const KEEP_BYTES_MIN: usize = 64 << 10;

/// What bounds the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// What the machine, or our control group, has.
    pub memory_bytes: u64,
    /// `vm.max_map_count`.
    pub mappings: u64,
    /// The smaller of `RLIMIT_AS` and what the hardware gives.
    pub address_bytes: u64,
}

impl Machine {
    /// Asks the kernel. What it does not say counts as Linux' default.
    #[must_use]
    pub fn ask() -> Machine {
        let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(65_530);
        let limit = getrlimit(Resource::RLIMIT_AS).map_or(u64::MAX, |(soft, _)| soft);
        // Half of a configured limit stays with everything else.
        let address_bytes = if limit == u64::MAX { ADDRESS_BYTES_MAX } else { ADDRESS_BYTES_MAX.min(limit / 2) };
        Machine { memory_bytes: memory(), mappings, address_bytes }
    }

    fn slots(self) -> (u64, Bound) {
        [
            (self.mappings.saturating_sub(MAPPINGS_RESERVED) / MAPPINGS_PER_SLOT, Bound::Mappings),
            (self.address_bytes / SLOT_ADDRESS_BYTES, Bound::Address),
            (self.memory_bytes / SLOT_MEMORY_BYTES, Bound::Memory),
        ]
        .into_iter()
        .min_by_key(|(slots, _)| *slots)
        .unwrap_or((0, Bound::Memory))
    }

    /// What may stay resident in a slot that is free again, so that all of them together take an eighth of the
    /// memory at most.
    #[must_use]
    pub fn keep_resident_bytes(self, slots: u32) -> usize {
        let share = self.memory_bytes / 8 / u64::from(slots.max(1));
        usize::try_from(share).unwrap_or(usize::MAX).clamp(KEEP_BYTES_MIN, KEEP_BYTES_MAX)
    }
}

/// Of the machine, or of the control group (version 2) we run in, if that is less.
fn memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let limit = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max")).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    machine.unwrap_or(u64::MAX).min(group.unwrap_or(u64::MAX))
}

/// What is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Mappings,
    Address,
    Memory,
}

/// The pool the operator asked for does not fit the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTooLarge {
    pub wanted: u32,
    pub possible: u64,
    pub bound: Bound,
    pub machine: Machine,
}

impl fmt::Display for PoolTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolTooLarge { wanted, possible, machine, .. } = self;
        match self.bound {
            Bound::Mappings => write!(
                f,
                "{wanted} filter instances need {} memory mappings, and the kernel allows this process {} \
                 (vm.max_map_count): at most {possible} instances fit. Set `engine.instances` to that, or raise \
                 the limit: sysctl -w vm.max_map_count={}",
                u64::from(*wanted) * MAPPINGS_PER_SLOT + MAPPINGS_RESERVED,
                machine.mappings,
                u64::from(*wanted) * MAPPINGS_PER_SLOT + MAPPINGS_RESERVED,
            ),
            Bound::Address => write!(
                f,
                "{wanted} filter instances reserve {} GiB of address space, and {} GiB are to be had (processor and \
                 ulimit -v): at most {possible} instances fit. Set `engine.instances` to that",
                (u64::from(*wanted) * SLOT_ADDRESS_BYTES) >> 30,
                machine.address_bytes >> 30,
            ),
            Bound::Memory => write!(
                f,
                "{wanted} filter instances take {} MiB of memory at the least, and there are {} MiB: at most \
                 {possible} instances fit. Set `engine.instances` to that",
                (u64::from(*wanted) * SLOT_MEMORY_BYTES) >> 20,
                machine.memory_bytes >> 20,
            ),
        }
    }
}

impl std::error::Error for PoolTooLarge {}

/// The number of slots: as wanted or an error, or the default as far as it fits (and takes a quarter of the memory).
///
/// # Errors
/// More is wanted than the machine holds, or it holds none at all.
pub(super) fn slots(wanted: Option<u32>, machine: Machine) -> Result<u32, PoolTooLarge> {
    let (possible, bound) = machine.slots();
    let modest = possible.min(machine.memory_bytes / 4 / SLOT_MEMORY_BYTES);
    let number = wanted.unwrap_or_else(|| u32::try_from(modest).unwrap_or(u32::MAX).clamp(1, SLOTS_DEFAULT));
    if u64::from(number) > possible {
        return Err(PoolTooLarge { wanted: number, possible, bound, machine });
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const COMMON: Machine = Machine { memory_bytes: 8 << 30, mappings: 65_530, address_bytes: ADDRESS_BYTES_MAX };

    #[test]
    fn the_default_fits_a_common_machine() {
        assert_eq!(slots(None, COMMON), Ok(SLOTS_DEFAULT));
        assert_eq!(slots(Some(9_000), COMMON), Ok(9_000));
    }

    #[test]
    fn the_default_shrinks_on_a_small_one() {
        assert_eq!(slots(None, Machine { mappings: 14_192, ..COMMON }), Ok(1_000));
    }

    #[test]
    fn too_many_are_refused_with_numbers() {
        let error = slots(Some(30_000), COMMON).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("188192 memory mappings"), "{text}");
        assert!(text.contains("at most 9556 instances"), "{text}");
        let error = slots(Some(30_000), Machine { mappings: 1 << 20, ..COMMON }).unwrap_err();
        assert_eq!(error.bound, Bound::Address);
        let error = slots(Some(9_000), Machine { memory_bytes: 256 << 20, ..COMMON }).unwrap_err();
        assert!(error.to_string().contains("562 MiB") && error.to_string().contains("at most 4096"), "{error}");
    }

    #[test]
    fn what_free_slots_keep_is_bounded_as_a_whole() {
        let small = Machine { memory_bytes: 1 << 30, ..COMMON };
        assert_eq!(slots(None, small), Ok(SLOTS_DEFAULT));
        assert_eq!(slots(None, Machine { memory_bytes: 512 << 20, ..COMMON }), Ok(2_048));
        assert_eq!(small.keep_resident_bytes(4_000), 64 << 10);
        assert_eq!(COMMON.keep_resident_bytes(4_000), 268_435);
        assert_eq!(COMMON.keep_resident_bytes(100), 1 << 20);
    }
}
