//go:build !caudal_native

// Package wasm runs the C API as WASM, which is embedded. The module is compiled once in a process, at the first use;
// each instance has its own memory and runs one call at a time.
package wasm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

//go:embed caudal.wasm
var binary []byte

// CacheVariable names the environment variable with the folder that compiled code is kept in from process to process.
const CacheVariable = "CAUDAL_CACHE"

type library struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

var load = sync.OnceValues(func() (*library, error) {
	ctx := experimental.WithCompilationWorkers(context.Background(), runtime.GOMAXPROCS(0))
	config := wazero.NewRuntimeConfig()
	if folder := os.Getenv(CacheVariable); folder != "" {
		cache, err := wazero.NewCompilationCacheWithDir(folder)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", CacheVariable, err)
		}
		config = config.WithCompilationCache(cache)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	host := r.NewHostModuleBuilder("caudal")
	export := func(name string, f api.GoFunc, parameters, results []api.ValueType) {
		host.NewFunctionBuilder().WithGoFunction(f, parameters, results).Export(name)
	}
	export("clock", clock, nil, []api.ValueType{api.ValueTypeF64})
	export("poll", poll, nil, []api.ValueType{api.ValueTypeI32})
	three := []api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32}
	export("gpu", noGPU, three, []api.ValueType{api.ValueTypeI32})
	export("panic", panicked, []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, nil)
	if _, err := host.Instantiate(ctx); err != nil {
		return nil, err
	}
	compiled, err := r.CompileModule(ctx, binary)
	if err != nil {
		return nil, err
	}
	return &library{r, compiled}, nil
})

// caller is the context of an instance's calls, by which the imports find the instance.
type caller struct {
	context.Context
	instance *Instance
}

var started = time.Now()

func clock(_ context.Context, stack []uint64) {
	stack[0] = api.EncodeF64(time.Since(started).Seconds())
}

func poll(ctx context.Context, stack []uint64) {
	stack[0] = 0
	if ctx.(*caller).instance.watched.Err() != nil {
		stack[0] = 1
	}
}

// noGPU fails: no GPU is opened here, so it is never asked.
func noGPU(_ context.Context, stack []uint64) {
	stack[0] = 2
}

func panicked(ctx context.Context, stack []uint64) {
	in := ctx.(*caller).instance
	message, _ := in.memory.Read(uint32(stack[0]), uint32(stack[1]))
	in.message = string(message)
}

// An Instance is an engine with a memory of its own.
type Instance struct {
	module    api.Module
	memory    api.Memory
	functions [engine.Count]api.Function
	caller    caller
	watched   context.Context
	message   string
}

// New makes an instance.
func New() (*Instance, error) {
	library, err := load()
	if err != nil {
		return nil, err
	}
	in := &Instance{watched: context.Background()}
	in.caller = caller{context.Background(), in}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	in.module, err = library.runtime.InstantiateModule(&in.caller, library.compiled, config)
	if err != nil {
		return nil, err
	}
	in.memory = in.module.Memory()
	return in, nil
}

// Call implements [engine.Engine].
func (in *Instance) Call(function engine.Function, stack []uint64) error {
	f := in.functions[function]
	if f == nil {
		f = in.module.ExportedFunction(function.Name())
		if f == nil {
			return fmt.Errorf("the module does not export %s", function.Name())
		}
		in.functions[function] = f
	}
	err := f.CallWithStack(&in.caller, stack)
	if err == nil {
		return nil
	}
	if in.message != "" {
		return errors.New(in.message)
	}
	// wazero appends the stack of the module.
	text, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return errors.New(string(text))
}

// View implements [engine.Engine].
func (in *Instance) View(p engine.Pointer, n int) []byte {
	view, ok := in.memory.Read(uint32(p), uint32(n))
	if !ok {
		panic(fmt.Sprintf("caudal: %d bytes at %#x are outside of the module's memory", n, uint64(p)))
	}
	return view
}

// Text implements [engine.Engine].
func (in *Instance) Text(p engine.Pointer) string {
	view := in.View(p, int(in.memory.Size())-int(p))
	return string(view[:bytes.IndexByte(view, 0)])
}

// Word implements [engine.Engine].
func (in *Instance) Word() int { return 4 }

// Shared implements [engine.Engine].
func (in *Instance) Shared() bool { return false }

// Watch implements [engine.Engine].
func (in *Instance) Watch(ctx context.Context) { in.watched = ctx }

// Size implements [engine.Engine].
func (in *Instance) Size() uint64 { return uint64(in.memory.Size()) }

// Closer implements [engine.Engine].
func (in *Instance) Closer() func() {
	module := in.module
	return func() { _ = module.Close(context.Background()) }
}
