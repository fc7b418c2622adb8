use std::time::Instant;

use super::*;

fn dim(text: &str) -> Dim {
    Dim::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn shape(text: &str) -> Shape {
    Shape::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Repeatable numbers (Knuth's 64-bit linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }

    fn integer(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }
}

const NAMES: [&str; 3] = ["k", "m", "n"];
const OPERATIONS: [&str; 7] = ["+", "-", "*", "floordiv", "mod", "min", "max"];

enum Tree {
    Constant(i64),
    Symbol(usize),
    Operation(&'static str, Box<Tree>, Box<Tree>),
}

impl Tree {
    fn random(random: &mut Random, depth: u32) -> Tree {
        match random.below(if depth == 0 { 4 } else { 16 }) {
            0 => Tree::Constant(random.integer(-4, 6)),
            1..4 => Tree::Symbol(random.below(3) as usize),
            _ => {
                let operation = OPERATIONS[random.below(7) as usize];
                let left = Tree::random(random, depth - 1);
                let constant = matches!(operation, "floordiv" | "mod" | "*") && random.below(3) > 0;
                let right =
                    if constant { Tree::Constant(random.integer(-4, 6)) } else { Tree::random(random, depth - 1) };
                Tree::Operation(operation, Box::new(left), Box::new(right))
            }
        }
    }

    /// None where a divisor is 0 or the dim grows too large.
    fn dim(&self) -> Option<Dim> {
        let (operation, a, b) = match self {
            Tree::Constant(value) => return Some(Dim::constant(*value)),
            Tree::Symbol(index) => return Dim::symbol(NAMES[*index]).ok(),
            Tree::Operation(operation, a, b) => (*operation, a.dim()?, b.dim()?),
        };
        let result = match operation {
            "+" => a.add(&b),
            "-" => a.sub(&b),
            "*" => a.mul(&b),
            "floordiv" => a.floordiv(&b),
            "mod" => a.modulo(&b),
            "min" => a.min(&b),
            _ => a.max(&b),
        };
        result.ok()
    }

    /// None where a divisor is 0.
    fn value(&self, values: [i64; 3]) -> Option<i128> {
        let (operation, a, b) = match self {
            Tree::Constant(value) => return Some((*value).into()),
            Tree::Symbol(index) => return Some(values[*index].into()),
            Tree::Operation(operation, a, b) => (*operation, a.value(values)?, b.value(values)?),
        };
        let floor =
            |a: i128, b: i128| a.checked_div(b).map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q });
        match operation {
            "+" => Some(a + b),
            "-" => Some(a - b),
            "*" => Some(a * b),
            "floordiv" => floor(a, b),
            "mod" => floor(a, b).map(|quotient| a - b * quotient),
            "min" => Some(a.min(b)),
            _ => Some(a.max(b)),
        }
    }
}

fn values(random: &mut Random) -> [i64; 3] {
    [0; 3].map(|_| random.integer(0, 9))
}

fn environment(values: [i64; 3]) -> impl Fn(&str) -> Option<i64> {
    move |name| NAMES.iter().position(|known| *known == name).map(|index| values[index])
}

#[test]
fn expressions_have_one_canonical_text() {
    let table = [
        ("1+2*n", "2*n+1"),
        ("n-n", "0"),
        ("-n", "-n"),
        ("3-n", "-n+3"),
        ("n*m", "m*n"),
        ("n*(n+1)-n", "n*n"),
        ("(a+b)*(a-b)", "a*a-b*b"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("floordiv(2*n*k+3, 2)", "k*n+1"),
        ("floordiv(n+1, 2)", "floordiv(n+1, 2)"),
        ("floordiv(n-3, 2)+1", "floordiv(n+1, 2)-1"),
        ("floordiv(2*n+1, 4)", "floordiv(n, 2)"),
        ("floordiv(floordiv(n, 3), 5)", "floordiv(n, 15)"),
        ("floordiv(floordiv(n+1, 2)+1, 2)", "floordiv(n+3, 4)"),
        ("-floordiv(-n, 2)", "floordiv(n+1, 2)"),
        ("floordiv(n, -2)", "-floordiv(n+1, 2)"),
        ("floordiv(7, -2)", "-4"),
        ("floordiv(n, 1)", "n"),
        ("floordiv(mod(n, 3), 3)", "0"),
        ("floordiv((n+1)*m, n+1)", "m"),
        ("floordiv(n*m, n)", "floordiv(m*n, n)"),
        ("floordiv(n, n+1)", "0"),
        ("mod(3*n*k, 3)", "0"),
        ("mod(n+7, 3)", "mod(n+1, 3)"),
        ("mod(-n, 3)", "mod(2*n, 3)"),
        ("mod(2*n+1, 4)", "2*mod(n, 2)+1"),
        ("mod(mod(n, 6)+1, 3)", "mod(n+1, 3)"),
        ("mod(mod(n, 3), 5)", "mod(n, 3)"),
        ("mod(-7, 3)", "2"),
        ("mod(n, 1)", "0"),
        ("mod(n, n+1)", "n"),
        ("max(n, 0)", "n"),
        ("max(0, n-2)", "max(n-2, 0)"),
        ("max(n, n+1)", "n+1"),
        ("min(n, n)", "n"),
        ("min(3, min(n, 5), m)", "min(m, n, 3)"),
        ("max(min(n, 5), 7)", "7"),
        ("max(n-min(n, 3), 0)", "n-min(n, 3)"),
        ("max(n-floordiv(n, 2), 0)", "n-floordiv(n, 2)"),
        ("min(n, max(n-2, 0))", "max(n-2, 0)"),
        (" batch \t*\n2 ", "2*batch"),
    ];
    for (text, canonical) in table {
        assert_eq!(dim(text).to_string(), canonical, "{text}");
        assert_eq!(dim(canonical), dim(text), "{text}");
    }
}

#[test]
fn convolutions_and_reshapes_over_unknown_sizes_resolve() {
    let height = dim("h");
    let (one, two) = (Dim::constant(1), Dim::constant(2));
    let strided = |size: &Dim| size.sub(&one).unwrap().floordiv(&two).unwrap().add(&one).unwrap();
    assert_eq!(strided(&strided(&strided(&height))).to_string(), "floordiv(h+7, 8)");
    let elements = shape("[batch, floordiv(h+1, 2), 4]").elements().unwrap();
    assert_eq!(elements.divide_exact(&dim("4*floordiv(h+1, 2)")), Some(dim("batch")));
    assert_eq!(shape("[n, m]").elements().unwrap().divide_exact(&dim("n")), Some(dim("m")));
    assert_eq!(shape("[0, 9223372036854775807, 3, n]").elements().unwrap(), Dim::constant(0));
}

#[test]
fn equality_difference_and_bounds_are_found() {
    let equal = [
        ("floordiv(n, 2)+floordiv(n+1, 2)", "n"),
        ("2*floordiv(n, 2)+mod(n, 2)", "n"),
        ("8*floordiv(n+7, 8)", "n+mod(-n, 8)"),
        ("n-floordiv(n, 2)", "floordiv(n+1, 2)"),
    ];
    for (a, b) in equal {
        assert!(dim(a).equals_provably(&dim(b)) && !dim(a).differs_provably(&dim(b)), "{a} == {b}");
    }
    for (a, b) in [("n", "n+1"), ("2*n", "2*m+1"), ("n+3", "2"), ("mod(n, 3)", "3"), ("min(n, 3)", "n+1")] {
        assert!(dim(a).differs_provably(&dim(b)) && !dim(a).equals_provably(&dim(b)), "{a} != {b}");
    }
    for (a, b) in [("n", "m"), ("n", "4"), ("2*n", "n"), ("floordiv(n, 2)", "floordiv(n, 3)")] {
        assert!(!dim(a).differs_provably(&dim(b)) && !dim(a).equals_provably(&dim(b)), "{a} ? {b}");
    }
    let bounds = [
        ("n", Some(0), None),
        ("3-n", None, Some(3)),
        ("mod(n, 5)+1", Some(1), Some(5)),
        ("min(n, 7)*2", Some(0), Some(14)),
        ("n-min(n, 3)", Some(0), None),
        ("n-floordiv(n+1, 2)", Some(0), None),
        ("n-m", None, None),
        ("max(3-n, -2)", Some(-2), Some(3)),
    ];
    for (text, low, high) in bounds {
        assert_eq!((dim(text).lower_bound(), dim(text).upper_bound()), (low, high), "{text}");
    }
}

#[test]
fn exact_division_finds_the_quotient_or_nothing() {
    let table = [
        ("6*n+4", "2", Some("3*n+2")),
        ("6*n+4", "4", None),
        ("n*m*k", "m", Some("k*n")),
        ("n*n-1", "n-1", Some("n+1")),
        ("n*n+1", "n+1", None),
        ("(a+2*b+1)*(a*b-3)", "a*b-3", Some("a+2*b+1")),
        ("n", "m", None),
        ("n", "0", None),
        ("0", "n", Some("0")),
        ("-9223372036854775808", "-1", None),
        ("1", "n", None),
    ];
    for (a, b, quotient) in table {
        assert_eq!(dim(a).divide_exact(&dim(b)).map(|dim| dim.to_string()).as_deref(), quotient, "{a} / {b}");
    }
}

#[test]
fn canonical_forms_evaluate_like_the_operations_they_came_from() {
    let mut random = Random(1);
    let mut compared = 0;
    for case in 0..20_000 {
        let tree = Tree::random(&mut random, 1 + case % 5);
        let Some(dim) = tree.dim() else { continue };
        assert_eq!(Dim::parse(&dim.to_string()).as_ref(), Ok(&dim), "{dim}");
        let (low, high) = (dim.lower_bound(), dim.upper_bound());
        for _ in 0..8 {
            let values = values(&mut random);
            let Some(expected) = tree.value(values) else { continue };
            let actual = dim.evaluate(&environment(values)).unwrap();
            assert_eq!(i128::from(actual), expected, "{dim} at {NAMES:?} = {values:?}");
            assert!(low.is_none_or(|low| low <= actual), "{dim} = {actual} falls below {low:?}");
            assert!(high.is_none_or(|high| actual <= high), "{dim} = {actual} exceeds {high:?}");
            compared += 1;
        }
    }
    assert!(compared > 100_000, "{compared}");
}

#[test]
fn what_is_provable_holds_and_quotients_multiply_back() {
    let mut random = Random(2);
    let mut found = [0; 3];
    for case in 0..20_000 {
        let trees = [Tree::random(&mut random, case % 4), Tree::random(&mut random, case % 3)];
        let (Some(a), Some(b)) = (trees[0].dim(), trees[1].dim()) else {
            continue;
        };
        let (equal, different, quotient) = (a.equals_provably(&b), a.differs_provably(&b), a.divide_exact(&b));
        assert!(!(equal && different), "{a} {b}");
        for (count, hit) in found.iter_mut().zip([equal, different, quotient.is_some()]) {
            *count += u32::from(hit);
        }
        for _ in 0..8 {
            let values = values(&mut random);
            let env = environment(values);
            let (Ok(x), Ok(y)) = (a.evaluate(&env), b.evaluate(&env)) else {
                continue;
            };
            assert!(!equal || x == y, "{a} == {b}");
            assert!(!different || x != y, "{a} != {b}");
            if let Some(quotient) = &quotient {
                assert!(quotient.evaluate(&env).is_ok_and(|q| q * y == x), "{a} / {b} = {quotient}");
            }
        }
    }
    assert!(found.iter().all(|count| *count > 100), "{found:?}");
}

#[test]
fn substitution_evaluates_like_nested_evaluation() {
    let mut random = Random(3);
    for _ in 0..5_000 {
        let (outer, inner) = (Tree::random(&mut random, 3), Tree::random(&mut random, 2));
        let (Some(outer), Some(inner)) = (outer.dim(), inner.dim()) else {
            continue;
        };
        let replaced = outer.substitute(&|name| (name == "n").then(|| inner.clone()));
        let Ok(replaced) = replaced else { continue };
        let values = values(&mut random);
        let env = environment(values);
        let Ok(value) = inner.evaluate(&env) else { continue };
        if let Ok(expected) = outer.evaluate(&|name| if name == "n" { Some(value) } else { env(name) }) {
            assert_eq!(replaced.evaluate(&env), Ok(expected), "{outer} with n = {inner}");
        }
    }
}

#[test]
fn hostile_text_is_refused_quickly() {
    let deep = |open: &str, close: &str, count: usize| format!("{}n{}", open.repeat(count), close.repeat(count));
    let many = |count: usize| (0..count).map(|index| format!("s{index}")).collect::<Vec<_>>();
    let sum = |count: usize| format!("({})", many(count).join("+"));
    let texts = [
        String::new(),
        " ".into(),
        "n n".into(),
        "2n".into(),
        "n+".into(),
        "*n".into(),
        "--n".into(),
        "(n".into(),
        "n)".into(),
        "n//2".into(),
        "né".into(),
        "\u{0}".into(),
        "floordiv".into(),
        "floordiv(n)".into(),
        "mod(n, 2, 3)".into(),
        "max(n)".into(),
        "min()".into(),
        "f(n)".into(),
        "floordiv(n, 0)".into(),
        "mod(n, m-m)".into(),
        "9223372036854775808".into(),
        "9".repeat(5000),
        "4294967296*4294967296*n".into(),
        deep("(", ")", 33),
        deep("(", ")", 4000),
        "(".repeat(8000),
        "max(".repeat(2000),
        deep("max(n, m+", ")", 40),
        "n".repeat(65),
        "n+".repeat(5000),
        many(65).join("+"),
        format!("max({})", many(65).join(", ")),
        vec!["n"; 65].join("*"),
        format!("{}*{}", sum(63), sum(63)),
        vec!["(a+1)*(b+1)*(c+1)"; 20].join("*"),
    ];
    for text in texts {
        let start = Instant::now();
        assert!(Dim::parse(&text).is_err(), "{text:.60}");
        assert!(start.elapsed().as_millis() < 500, "{text:.60} took {:?}", start.elapsed());
    }
}

#[test]
fn costly_text_takes_bounded_time() {
    let term = |index: usize| format!("n{index}-min(n{index}, m)");
    let long = format!("max({})", (0..10).map(term).collect::<Vec<_>>().join(", "));
    let count = MAX_TEXT / (long.len() + 1);
    let texts = [
        (0..count).map(|_| long.clone()).collect::<Vec<_>>().join("-"),
        format!("{}1", "n+".repeat(4000)),
        format!("{}n{}", "floordiv(m*".repeat(15), "+1, 2)".repeat(15)),
    ];
    for text in texts {
        let start = Instant::now();
        let _ = Dim::parse(&text);
        assert!(start.elapsed().as_millis() < 3000, "{text:.60} took {:?}", start.elapsed());
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let words = [
        "n",
        "m",
        "floordiv(",
        "mod(",
        "max(",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "9223372036854775807",
        "2",
        "0",
        " ",
        "[",
        "]",
    ];
    let mut random = Random(4);
    for _ in 0..50_000 {
        let text: String = (0..random.below(14)).map(|_| words[random.below(words.len() as u64) as usize]).collect();
        if let Ok(dim) = Dim::parse(&text) {
            assert_eq!(Dim::parse(&dim.to_string()), Ok(dim), "{text}");
        }
        let _ = Shape::parse(&text);
    }
}

#[test]
fn extreme_integers_are_errors_or_exact() {
    let edges = [i64::MIN, i64::MIN + 1, -3, -1, 0, 1, 2, 3, i64::MAX - 1, i64::MAX];
    let env = environment([5, 6, 7]);
    for a in edges {
        for b in edges {
            let linear = |scale: i64, offset: i64| {
                let product = dim("n").mul(&Dim::constant(scale)).unwrap();
                product.add(&Dim::constant(offset)).unwrap()
            };
            for (x, y) in
                [(Dim::constant(a), Dim::constant(b)), (linear(a, b), Dim::constant(b)), (linear(b, a), linear(a, b))]
            {
                let results = [x.add(&y), x.sub(&y), x.mul(&y), x.floordiv(&y), x.modulo(&y), x.min(&y), x.max(&y)];
                for result in results.into_iter().flatten() {
                    let _ = (result.evaluate(&env), result.lower_bound(), result.upper_bound());
                    assert_eq!(Dim::parse(&result.to_string()), Ok(result));
                }
                let _ = (x.divide_exact(&y), x.equals_provably(&y), x.differs_provably(&y));
            }
        }
    }
}

#[test]
fn errors_name_the_symbol_and_the_values() {
    let nothing = |_: &str| None;
    let zero = |_: &str| Some(0);
    let table = [
        (dim("2*n+1").evaluate(&nothing), "the dim 2*n+1 needs n, which has no value"),
        (dim("n").evaluate(&nothing), "the dim n has no value"),
        (dim("n").evaluate(&|_| Some(-1)), "the dim n is -1, a size is 0 or more"),
        (dim("floordiv(n, m)+1").evaluate(&zero), "the dim floordiv(n, m)+1 divides by zero"),
        (dim("n*n").evaluate(&|_| Some(i64::MAX)), "the value of n*n does not fit in 64 bits"),
    ];
    for (result, message) in table {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
    let table = [
        (Dim::constant(i64::MAX).add(&Dim::constant(1)), "9223372036854775807 + 1 does not fit in 64 bits"),
        (dim("n").floordiv(&Dim::constant(0)), "floordiv(n, 0) divides by zero"),
        (Dim::symbol("2x"), "\"2x\" cannot name a dim: letters, digits and _, not beginning with a digit"),
        (Dim::symbol("mod"), "\"mod\" cannot name a dim: it is a function of dims"),
        (Dim::parse("n + "), "a dim's text has the end at 4 where an integer, a name or '(' is expected"),
        (Dim::parse("n 2"), "a dim's text has \"2\" at 2 where the end is expected"),
    ];
    for (result, message) in table {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
}

#[test]
fn the_longest_dim_still_reads_back() {
    let mut longest = Dim::constant(i64::MIN);
    for index in 0..(MAX_TERMS as i64 - 1) {
        let name = format!("{}{index:02}", "s".repeat(MAX_SYMBOL - 2));
        longest = longest.add(&Dim::symbol(&name).unwrap().mul(&Dim::constant(i64::MIN + index)).unwrap()).unwrap();
    }
    assert_eq!(Dim::parse(&longest.to_string()), Ok(longest.clone()));
    assert!(longest.add(&dim("one_more")).is_err());
}

#[test]
fn shapes_broadcast_by_the_rules_of_numpy() {
    let table = [
        ("[2, 3]", "[3]", "[2, 3]", ""),
        ("[2, 1]", "[1, 3]", "[2, 3]", ""),
        ("[]", "[n]", "[n]", ""),
        ("[0]", "[1]", "[0]", ""),
        ("[n, 4]", "[4]", "[n, 4]", ""),
        ("[n]", "[1]", "[n]", ""),
        ("[n]", "[n]", "[n]", ""),
        ("[n]", "[4]", "[4]", "n == 4"),
        ("[n]", "[m]", "[n]", "n == m"),
        ("[n, n]", "[m, m]", "[n, n]", "n == m"),
    ];
    for (a, b, expected, recorded) in table {
        let mut constraints = Vec::new();
        let result = broadcast(&shape(a), &shape(b), &mut constraints).unwrap();
        let texts: Vec<String> = constraints.iter().map(Constraint::to_string).collect();
        assert_eq!((result.to_string().as_str(), texts.join(", ").as_str()), (expected, recorded), "{a} {b}");
    }
    let refused = [("[2, 3]", "[4]"), ("[n+5]", "[4]"), ("[n]", "[n+1]"), ("[2*n]", "[7]"), ("[0]", "[2]")];
    for (a, b) in refused {
        let error = broadcast(&shape(a), &shape(b), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("shapes {a} and {b} cannot be broadcast together"));
    }
}

#[test]
fn dims_unify_or_leave_a_constraint() {
    let mut constraints = Vec::new();
    assert_eq!(unify(&dim("n"), &dim("4"), &mut constraints), Ok(dim("4")));
    assert_eq!(unify(&dim("1"), &dim("m"), &mut constraints), Ok(dim("1")));
    let message = unify(&dim("2"), &dim("1"), &mut constraints).unwrap_err().to_string();
    assert_eq!(message, "the dims 2 and 1 differ");
    assert_eq!(constraints.iter().map(Constraint::to_string).collect::<Vec<_>>(), ["n == 4", "1 == m"]);
    assert_eq!(constraints[0].holds(&|_| Some(4)), Ok(true));
    assert_eq!(constraints[0].holds(&|_| Some(3)), Ok(false));
}

#[test]
fn shapes_print_parse_and_evaluate() {
    for text in ["[]", "[batch, 28, 28, 1]", "[2*n+1, max(n-2, 0)]"] {
        assert_eq!(shape(text).to_string(), text);
    }
    assert_eq!(Shape::of(&[2, 3]).sizes(), Some(vec![2, 3]));
    assert_eq!(Shape::of(&[2, -3]).sizes(), None);
    assert!(!shape("[n]").is_constant() && shape("[2]").is_constant());
    assert_eq!(shape("[2, n]").evaluate(&|_| Some(5)), Ok(vec![2, 5]));
    let error = shape("[2, n-5]").evaluate(&|_| Some(3)).unwrap_err();
    assert_eq!(error.to_string(), "the dim n-5 of the shape [2, n-5] is -2");
    for text in ["", "[", "[2", "[2,]", "[,]", "2", "[2] 3", "[-1]", "[-n-1]", "[2][3]"] {
        assert!(Shape::parse(text).is_err(), "{text}");
    }
    assert!(Shape::parse(&format!("[{}]", ["1"; 33].join(","))).is_err());
}

#[test]
fn bindings_solve_specs_or_say_what_does_not_fit() {
    type Arguments = &'static [(&'static str, &'static str)];
    let table: &[(Arguments, &str)] = &[
        (&[("[n, 28]", "[3, 28]")], "n=3"),
        (&[("[2*n+1]", "[7]")], "n=3"),
        (&[("[2*n+1, n]", "[7, 3]")], "n=3"),
        (&[("[m*n, 4]", "[12, 4]"), ("[n]", "[3]")], "n=3, m=4"),
        (&[("[k+m, k-n]", "[12, 4]"), ("[n]", "[3]")], "n=3, k=7, m=5"),
        (&[("[n+floordiv(m, 2)]", "[5]"), ("[m]", "[4]")], "m=4, n=3"),
        (&[("[n]", "[0]")], "n=0"),
        (&[("[]", "[]")], ""),
        (&[("[n, 28]", "[3, 27]")], "input 0: axis 1 is 27, expected 28"),
        (&[("[n]", "[3]"), ("[n]", "[4]")], "input 1: axis 0 is 4, expected n = 3"),
        (&[("[n, 2*n]", "[3, 7]")], "input 0: axis 1 is 7, expected 2*n = 6"),
        (&[("[2*n+1]", "[8]")], "input 0: axis 0 is 8, expected 2*n+1"),
        (&[("[n+5]", "[3]")], "input 0: axis 0 is 3, expected n+5"),
        (&[("[n*n]", "[9]")], "input 0: axis 0 is 9, expected n*n"),
        (&[("[m*n]", "[6]"), ("[m]", "[0]")], "input 0: axis 0 is 6, expected m*n"),
        (&[("[n, 28]", "[3]")], "input 0: the shape is [3], expected [n, 28]"),
    ];
    for (arguments, expected) in table {
        let sizes = |text: &str| shape(text).sizes().unwrap();
        let pairs: Vec<_> = arguments.iter().map(|(spec, actual)| (shape(spec), sizes(actual))).collect();
        let mut bindings = Bindings::new();
        let text = match bindings.bind_all(pairs.iter().map(|(spec, actual)| (spec, actual.as_slice()))) {
            Ok(()) => bindings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "),
            Err((position, mismatch)) => format!("input {position}: {mismatch}"),
        };
        assert_eq!(text, *expected, "{arguments:?}");
    }
}
