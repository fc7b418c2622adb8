// Package caudal runs and trains programs, files of functions and state, and builds them from nothing: graph, gradient,
// optimizer. A file that was saved in Python, JavaScript or Go runs and goes on training in each of them, with the same
// numbers.
//
//	s, err := caudal.Load("fashion.caudal", nil)
//	...
//	defer s.Close()
//	out, err := s.Run(ctx, "predict", caudal.Tensors{"x": x})
//
// # Two engines
//
// By default the library is pure Go: the core is embedded as WASM and run by wazero. Nothing else is to be installed,
// CGO_ENABLED=0 works, and the binary is static. The module is compiled at the first use in a process, which takes about
// a second; the environment variable CAUDAL_CACHE names a folder that keeps what was compiled for other processes.
//
// With the build tag caudal_native the same functions run through cgo on the native library, several times faster. It is
// build/c/lib/libcaudal.a of the repository, which `make static` builds.
//
// # State and goroutines
//
// A [Session] may be used from any number of goroutines. Calls of functions that write state run one after the other; the
// others run beside them, each on one version of the state. A call that begins after one that writes has returned sees
// its state.
//
// Without the tag caudal_native one instance of the module runs one call at a time. A session has a writer, whose state
// is the truth, and makes up to [Options.Readers] readers when calls that only read state would wait. Each holds a copy
// of the state that these functions read, and takes over what has changed before a call. They take as much memory each;
// under [Limits].Memory they share half of what the program leaves, and are given up when a call that writes needs it.
// [Session.Report] says how many there are and what they may take.
//
// # Errors
//
// Every error is an [*Error], with the message that all languages have. [errors.Is] matches its code, such as
// [ErrShape]; a deadline and a cancelled call also match those of package context.
package caudal
