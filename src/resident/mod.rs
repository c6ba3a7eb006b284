//! A map for many readers and one writer, whose lookups neither wait nor write to shared memory.
//!
//! [`new`] gives a [`Writer`], of which there is one, and a [`Reader`], which can be cloned and
//! shared. A key maps to a value, or to a *negative*: a small `Copy` payload that says why there is no
//! value. The map knows nothing of its keys and values and can be used by itself.
//!
//! ```
//! use revmc_jit::resident::{self, Lookup, Options};
//!
//! let (mut writer, reader) = resident::new::<u64, String, u8>(&Options::default());
//! writer.insert(1, "one".to_string());
//! writer.insert_negative(2, 42);
//!
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         // Counted: an `Arc`, to keep anywhere.
//!         assert_eq!(*reader.get(&1).hit().unwrap(), "one");
//!         // Borrowed: no read-modify-write. For the length of a closure, or of a guard.
//!         reader.with(&1, |found| assert_eq!(found.hit().unwrap(), "one"));
//!         let guard = reader.borrow(&1).hit().unwrap();
//!         assert_eq!(&*guard, "one");
//!         assert_eq!(reader.get(&2), Lookup::Negative(42));
//!         assert_eq!(reader.get(&3), Lookup::Miss);
//!     });
//! });
//!
//! writer.remove(&1);
//! writer.reclaim();
//! assert_eq!(reader.counters().hits, 3);
//! ```
//!
//! The rest of this page is for those who audit or change the map.
//!
//! # The algorithm
//!
//! **Table.** A power of two of words, each null, a tombstone, or a pointer to an entry with hash bits
//! in the bits its alignment leaves free. The home of a key is the low end of its hash; collisions probe
//! linearly. At most half of the words are in use, tombstones included; past that the writer builds
//! another table, links the same entries, and publishes it with one store. Entries are immutable but
//! for the tick of their last hit.
//!
//! **Lookup.** A thread owns one *slot* in each map it reads. It *enters* (sets the low bit of
//! `slot.seq`), passes the light fence, loads the table, probes, compares the whole key, takes what
//! it wants, and *leaves* (clears the bit and counts up). A lookup inside a lookup sees the bit set,
//! and its own enter and leave change nothing. Statistics are counters in the slot, stored by its
//! owner alone. An entry's tick is stored only if the writer's clock moved since the last hit.
//!
//! **Unlinking.** Insertion, replacement and removal each change one word, so that a reader sees the
//! entry of before or of after. What was unlinked, entry or table, is queued. [`Writer::reclaim`]
//! issues the heavy fence once for the whole queue, then notes every slot that is inside and the
//! value of its `seq`: the *stragglers*. When each has been seen at another value, the nodes are
//! out of reach. A straggler that never moves leaves a backlog (a gauge), never a waiting writer. At
//! most 16 such batches exist; beyond, the two newest merge, which only makes the older of the two
//! wait for the stragglers of the newer.
//!
//! **Borrowing for long.** A slot has 64 *hazards*. [`Reader::borrow`] stores the entry it found into
//! a free one before it leaves the section, and the guard's drop clears it. After the grace period of
//! an entry, the writer frees it only if no hazard names it. Other entries do not wait, and neither
//! side needs a further fence, since the section in which the hazard was stored is itself waited for.
//! A thread that holds 64 guards of one map gets counted ones.
//!
//! **Lending.** An entry holds its value in up to eight copies, each an `Arc`; a slot always clones
//! the same one. Once nobody can reach the entry, the writer polls its copies and drops each when the
//! map's reference is the last. So the destructor of a value, which unmaps code or closes a library,
//! runs on the writer's thread. (`Arc::downgrade` defeats this: an upgrade may come last.)
//!
//! **Messages.** A slot has a ring of messages to the writer ([`Reader::post`]): its owner fills
//! cells, the writer empties them, and each side counts on a number that it alone stores. A full
//! ring drops. So a thread that reports something waits for nobody, wherever others have stopped.
//!
//! # Invariants
//!
//! * **I1** Publication: the contents of an entry, a table or a slot are complete before the store
//!   that makes it reachable, and constant from then on, except for atomics. Slots stay in their
//!   list, and allocated, as long as the registry, which map and threads share.
//! * **I2** One owner: the table and its words are stored by the writer only; a slot (but for the
//!   flag `owned`) by the thread that set that flag only.
//! * **I3** For each thread and each unlinked node: either the snapshot after the heavy fence sees
//!   the thread inside, or the section the thread enters next does not find the node.
//! * **I4** A straggler seen at another value has left the section it was in, and all it read there
//!   happens before the look that showed it.
//! * **I5** A hazard stored in a section is visible to a scan made after that section is known to
//!   be over; a hazard not found has been cleared after the last use of what it protected.
//! * **I6** While a key is in a table, no word between its home and its own is null.
//! * **I7** No new reference to a copy can appear after its entry is out of reach, but from a
//!   caller's reference.
//! * **I8** Whatever remains is freed when the last handle is dropped, when nobody can look.
//!
//! # The races, from both sides
//!
//! Names in this font are those of the `ordering!` and `step!` macros in the sources.
//!
//! | reader | writer | holds because |
//! |---|---|---|
//! | sets "inside"; *light fence*; loads table and words | unlinks; *heavy fence*; loads `seq` | I3. Store buffering: with a fence between store and load on both sides, at least one load sees the other's store. The same for a slot just pushed to the list, and for one just recycled. |
//! | reads node; leaves (Release) | sees `seq` changed (Acquire) | I4. Frees after the reading. |
//! | leaves, enters again (Release) | sees only the second entering | I4. A release store begins a new release sequence, so without Release on *entering* this look would synchronise with nothing. The same for the marks a thread sets when it ends or begins with a slot. |
//! | stores hazard; leaves (Release) | sees it left; scans hazards | I5. The hazard happens before the scan. |
//! | last use; clears hazard (Release) | scans: null, or the next hazard | I5. Both stores are releases. |
//! | probes past a word | clears the word | I6. A word becomes null only if the word after it is: no key lies beyond it. Otherwise it becomes a tombstone. |
//! | clones an `Arc` in a section | polls `Arc::get_mut` | I7. Polled only after the section; `get_mut` acquires what the callers' drops released. |
//! | fills a cell; counts `tail` (Release) | sees it counted (Acquire); empties the cell | R1. The message happens before its taking. |
//! | sees `head` counted (Acquire); fills the cell again | empties the cell; counts `head` (Release) | R1. The taking happens before the next message. |
//! | is in the old table | publishes a new one, unlinks from that only | I3 for the table: who may still find an entry through the old table is a straggler of the later batch too. |
//!
//! # Orderings and the model that needs each
//!
//! `.ci/resident mutants` weakens these one at a time, to `Relaxed` or to nothing, and each makes at
//! least the named model in `tests/loom_map.rs` fail.
//!
//! | name | what for | a model that fails without |
//! |---|---|---|
//! | `light-fence` | I3 | `remove_while_read` |
//! | `heavy-fence` | I3 | `remove_while_read` |
//! | `enter-release` | I4 | `remove_while_read` |
//! | `leave-release` | I4 | `remove_while_read` |
//! | `mark-release` | I4 | `thread_ends_while_observed` |
//! | `observe-acquire` | I4, I5 | `remove_while_read` |
//! | `grace-wait` | I4: the wait itself | `remove_while_read` |
//! | `table-release`, `table-acquire` | I1 | `grow_while_read` |
//! | `entry-release`, `entry-acquire` | I1 | `insert_while_read` |
//! | `push-release`, `walk-acquire` | I1 for slots | `replace_while_two_read` |
//! | `recycle-release`, `recycle-acquire` | I2 | `slots_are_recycled` |
//! | `hazard-scan` | I5: the look itself | `guard_outlives_removal` |
//! | `unprotect-release`, `hazard-acquire` | I5 | `guard_outlives_removal` |
//! | `tail-release`, `tail-acquire` | R1 | `messages_arrive_whole_and_in_order` |
//! | `head-release`, `head-acquire` | R1 | `messages_arrive_whole_and_in_order` |
//! | `ring-room` | R1: the look itself | `messages_arrive_whole_and_in_order` |
//! | `lent-check` | I7: the poll itself | `lent_values_return_to_the_writer` |
//!
//! One ordering has no name: the Release with which a hazard is *set*. In the symmetric form the
//! light fence before it already orders it after the last use of what the hazard protected earlier,
//! so no model can tell; in the asymmetric form nothing else would. All other accesses are Relaxed and
//! say why.
//!
//! Bounds: `.ci/resident loom` allows three preemptions (two where three threads run) and takes some
//! six seconds in all, for 160 to 12,000 executions a model. `LOOM_MAX_PREEMPTIONS=4 .ci/resident
//! loom` and `.ci/resident deep`, which has no bound, go further. Models are small: two or three
//! threads, one to three keys, and constants cut down (one hazard, tables from two words). What loom
//! cannot show is the asymmetric form; `tests/resident_threads.rs` stresses both.
//!
//! # Outside the formal model
//!
//! On Linux the default light fence is a compiler fence and the heavy one the system call
//! membarrier(2) (`fence.rs` argues why that suffices on real machines). Rust's memory model has no
//! such operation. Who wants to stay inside the model sets [`FencePolicy::Symmetric`], or builds with
//! `--cfg revmc_jit_symmetric`; platforms without the call, and processes to which the kernel refuses
//! it, use the symmetric form anyway. The form is chosen in [`new`], before any reader exists, and
//! never changes. No lookup makes a system call. If a filter forbids the call *later*, nothing
//! unlinked from then on is freed, and lookups stay correct.
//!
//! `.ci/resident tsan` and `.ci/resident miri` run the thread tests in the symmetric form.
//! ThreadSanitizer does not model fences. It does not need to here: fences only decide which side sees
//! the other, and every edge that frees rely on is a release store read by an acquire load.
//!
//! # Chosen keys
//!
//! A code hash can be ground: a stranger can choose any few dozen bits of it. The hash is therefore
//! keyed ([`Seeded`]), and the bound does not rest on the hash being strong: **no lookup reads more
//! than 128 words** of the table. An insertion that finds no free word that near builds a new table,
//! with a new secret key (each table has its own), twice as large if that fails, and so on up to eight
//! times as large. Only if four keys fail is the limit lifted for that table, so that a bad hasher of
//! the caller's costs time, not correctness; with [`Seeded`], a table a quarter full exceeds the
//! limit with a probability below 10^-9 for a million keys. [`Gauges::max_probe`] and
//! [`Gauges::probe_limit`] show both numbers.
//!
//! # Situations
//!
//! * **A thread ends:** its slots are marked and given back by a thread-local destructor, and the
//!   next new thread takes them over, counters included. A slot whose guards are leaked is never
//!   recycled, and keeps their values until the map is gone.
//! * **Lookups in thread-local destructors** that run after ours: each takes a free slot for that
//!   one lookup and gives it back.
//! * **A guard that outlives its thread's slot** (held in another thread-local variable): the slot
//!   gives itself back when the last such guard is dropped.
//! * **A thread stopped while it leaves a message:** that one message comes later or never; a writer
//!   stopped while it takes one: that one cell is not free. Nobody waits for either.
//! * **A reader stopped for ever inside a lookup:** nothing unlinked from then on is freed. Others
//!   look up and the writer writes as before; [`Gauges::backlog`] grows.
//! * **A panic** in a key's `Eq` or `Hash`, or in the closure of [`Reader::with`], leaves the section.
//! * **`fork`:** the child has the map as it was and can look up. If the parent's writer was another
//!   thread, the child has none. If the forking thread has the writer, it can go on using it; slots of
//!   threads that do not exist in the child may stay inside for ever, so it may leak.
//! * **Signal handlers** must not look up: they might interrupt a lookup of their thread.
//! * **The writer is dropped:** readers keep the last state. What it had not freed, and the rest, is
//!   freed with the last handle, on whichever thread drops that; values still lent, by their callers.
//! * **When a change is seen:** a lookup that happens after a change sees it; one that is concurrent
//!   sees either state. A thread sees changes to one key in their order.

mod entry;
mod fence;
mod grace;
mod hash;
mod lookup;
mod options;
mod reader;
mod ring;
mod shared;
mod slots;
mod sync;
mod table;
mod writer;

pub use fence::{FencePolicy, Fences};
pub use hash::{Seeded, SeededHasher};
#[cfg(all(test, not(loom)))]
pub(crate) use sync::windows;

pub use lookup::Lookup;
pub use options::Options;
pub use reader::{Reader, Ref};
pub use shared::Gauges;
pub use slots::Counters;
pub use writer::Writer;

use std::hash::{BuildHasher, Hash};

/// Makes an empty map: the one handle that changes it and a handle that reads it.
///
/// With [`FencePolicy::Auto`] on Linux, the first map of the process registers with the kernel,
/// which can take milliseconds when many threads run already.
pub fn new<K: Eq + Hash, V, N: Copy>(options: &Options) -> (Writer<K, V, N>, Reader<K, V, N>) {
    with_hasher(options)
}

/// As [`new`], with another hasher. `S::default()` is called for every table that is built and
/// should draw a fresh seed each time: that is what bounds the probes when keys are chosen by an
/// adversary.
#[expect(
    clippy::type_complexity,
    reason = "a pair of handles, not worth a name"
)]
pub fn with_hasher<K: Eq + Hash, V, N: Copy, S: BuildHasher + Default>(
    options: &Options,
) -> (Writer<K, V, N, S>, Reader<K, V, N, S>) {
    with_messages(options)
}

/// As [`with_hasher`], with messages from readers to the writer: [`Reader::post`] and
/// [`Writer::take_messages`], with [`Options::messages`] of room.
#[expect(
    clippy::type_complexity,
    reason = "a pair of handles, not worth a name"
)]
pub fn with_messages<K: Eq + Hash, V, N: Copy, S: BuildHasher + Default, M>(
    options: &Options,
) -> (Writer<K, V, N, S, M>, Reader<K, V, N, S, M>) {
    let writer = Writer::create(options);
    let reader = writer.reader();
    (writer, reader)
}
