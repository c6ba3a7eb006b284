use crate::compiler::{CompileOptions, Rules, Tier, compile};

fn rules() -> Rules {
    Rules::new([3; 256], 0..=255)
}

fn options(tier: Tier, portable: bool) -> CompileOptions {
    CompileOptions {
        tier,
        portable,
        debug_assertions: true,
        ..CompileOptions::default()
    }
}

/// JUMPDEST, so many times `unit`, and a jump back while the top is not zero.
fn looped(unit: &[u8], times: usize) -> Vec<u8> {
    let mut code = vec![0x5f, 0x35, 0x5b];
    code.extend(unit.repeat(times));
    code.extend([0x80, 0x60, 0x02, 0x57, 0x00]);
    code
}

#[test]
fn each_destination_is_an_entry_in_both_tiers() {
    // PUSH0 CALLDATALOAD JUMP, 300 times JUMPDEST STOP.
    let mut code = vec![0x5f, 0x35, 0x56];
    code.extend([0x5b, 0x00].repeat(300));
    for tier in [Tier::Baseline, Tier::Optimized] {
        let native = compile(&code, &rules(), &options(tier, true)).unwrap();
        let pcs: Vec<u32> = native.entries().iter().map(|entry| entry.pc).collect();
        let expected: Vec<u32> = std::iter::once(0)
            .chain((0..300).map(|i| 3 + 2 * i))
            .collect();
        assert_eq!(pcs, expected);
        let operands: Vec<u32> = native.entries().iter().map(|entry| entry.operand).collect();
        assert_eq!(operands, (0..301).collect::<Vec<u32>>());
    }
}

#[test]
fn the_same_input_gives_the_same_text() {
    // DUP1 MUL in a loop.
    let code = looped(&[0x80, 0x02], 20);
    for portable in [false, true] {
        let text = || compile(&code, &rules(), &options(Tier::Optimized, portable)).unwrap();
        assert_eq!(text().text(), text().text());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn loops_that_are_too_long_are_left_to_one_pass() {
    let text = |tier, times| {
        let code = looped(&[0x80, 0x02], times);
        compile(&code, &rules(), &options(tier, false))
            .unwrap()
            .text()
            .to_vec()
    };
    assert_eq!(text(Tier::Optimized, 5000), text(Tier::Baseline, 5000));
    assert_ne!(text(Tier::Optimized, 5), text(Tier::Baseline, 5));
}
