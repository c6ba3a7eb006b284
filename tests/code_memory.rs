//! Executable memory as the kernel sees it: how many mappings it takes, and with which rights.
//! Alone in its process, as it reads the process's mappings.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "runtime_support/maps.rs"]
mod maps;

use maps::mappings;
use revmc_jit::code::{self, CodeMemory};

/// `mov eax, n; ret`
fn text(n: u32) -> Vec<u8> {
    [&[0xb8][..], &n.to_le_bytes(), &[0xc3]].concat()
}

fn run(code: &CodeMemory) -> u32 {
    // SAFETY: every text here is such a function.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.base()) };
    function()
}

fn rights(code: &CodeMemory) -> String {
    let at = code.base().addr().get();
    let mut all = mappings().into_iter();
    let found = all.find(|(range, _)| range.contains(&at));
    found.expect("it is mapped").1
}

/// What the audit did with 33,500 contracts, and the kernel's limit for a process is 65,530.
#[test]
fn programs_without_number_are_a_handful_of_mappings() {
    const PROGRAMS: u32 = 100_000;
    let before = mappings().len();
    let mut programs: Vec<_> = (0..PROGRAMS)
        .map(|n| Some(CodeMemory::new(&text(n)).unwrap()))
        .collect();
    let usage = code::usage();
    assert_eq!(usage.programs, PROGRAMS as usize);
    assert_eq!(usage.bytes, usage.programs * 4096);
    // The allocator maps something for the list, too.
    let grown = mappings().len() - before;
    assert!(grown < 4 * usage.arenas + 16, "{grown} more mappings");
    for (n, program) in programs.iter().enumerate() {
        assert_eq!(run(program.as_ref().unwrap()), n as u32);
    }

    // Every second one goes, and others come: holes split nothing.
    programs
        .iter_mut()
        .step_by(2)
        .for_each(|program| *program = None);
    let holes = mappings().len() - before;
    assert!(holes < 4 * usage.arenas + 16, "{holes} more mappings");
    for (n, program) in programs.iter_mut().enumerate().step_by(6) {
        *program = Some(CodeMemory::new(&text(n as u32)).unwrap());
    }
    let refilled = mappings().len() - before;
    assert!(refilled < 4 * usage.arenas + 16, "{refilled} more mappings");
    for (n, program) in programs.iter().enumerate() {
        assert!(
            program
                .as_ref()
                .is_none_or(|program| run(program) == n as u32)
        );
    }
    let some = programs[1].as_ref().unwrap();
    assert_eq!(rights(some), "r-xp");
    assert!(!mappings().iter().any(|(_, rights)| rights.contains("wx")));

    // All go, and so do the arenas, but for a spare one.
    drop(programs);
    let usage = code::usage();
    assert_eq!((usage.programs, usage.bytes, usage.arenas), (0, 0, 1));

    in_a_forked_child();
}

/// The child has what it inherited, can make its own, and neither waits nor unmaps.
fn in_a_forked_child() {
    let inherited = CodeMemory::new(&text(7)).unwrap();
    // SAFETY: the child calls what allocates and locks nothing of other threads' but the allocator,
    // which the C library makes ready after a fork, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = CodeMemory::new(&text(8)).map(|code| run(&code));
        let right = run(&inherited) == 7 && own == Ok(8);
        drop(inherited);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to a local variable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child");
    assert_eq!(run(&inherited), 7);
}
