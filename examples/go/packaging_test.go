// Package examples_test checks what who uses the module gets: one static binary.
package examples_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	// So that the test runs again when the library has changed.
	_ "github.com/caudal-project/caudal/go"
)

// program is a whole program of a user: it builds a network, saves and loads it, and predicts.
const program = `package main

import (
	"context"
	"fmt"
	"log"
	"os"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

func main() {
	g := caudal.NewGraph()
	x := g.Input("x", caudal.MustSpec("float32[batch, 2]"))
	w := g.State("w", caudal.MustTensor([]float32{1, 2, 3, 4}, 2, 2))
	g.Function("predict", caudal.Outputs{"output": ops.MatMul(x, w)})
	p, err := g.Program(nil)
	if err == nil {
		err = p.SaveFile(os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
	s, err := caudal.Load(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), "predict", caudal.Tensors{"x": caudal.MustTensor([]float32{1, 10}, 1, 2)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(caudal.Data[float32](out["output"]))
}
`

func TestAnEmptyModuleBuildsOneStaticBinaryThatPredicts(t *testing.T) {
	library, err := filepath.Abs(filepath.Join("..", "..", "go"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	run := func(name string, arguments ...string) string {
		t.Helper()
		command := exec.Command(name, arguments...)
		command.Dir = folder
		// The workspace and flags of who tests are not the user's.
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
		text, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, text)
		}
		return string(text)
	}
	run("go", "mod", "init", "example.com/empty")
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	run("go", "mod", "edit", "-replace=github.com/caudal-project/caudal/go="+library)
	run("go", "mod", "tidy")
	binary := filepath.Join(folder, "empty")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	run("go", "build", "-o", binary, ".")
	dependencies := strings.Fields(run("go", "list", "-deps", "."))
	if slices.Contains(dependencies, "runtime/cgo") || slices.Contains(dependencies, "C") {
		t.Error("it needs cgo")
	}
	if !slices.Contains(dependencies, "github.com/caudal-project/caudal/go") {
		t.Errorf("it does not use the library: %v", dependencies)
	}
	if runtime.GOOS == "linux" {
		isStatic(t, binary)
	}
	if got := run(binary, filepath.Join(folder, "a.caudal")); got != "[31 42] <nil>\n" {
		t.Errorf("it prints %q", got)
	}
}

// isStatic checks that no other file is loaded with it.
func isStatic(t *testing.T, binary string) {
	t.Helper()
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a part %v", part.Type)
		}
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %v, %v", libraries, err)
	}
}
