//go:build !caudal_native

package caudal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnEmptyModuleBuildsAStaticBinaryThatRuns(t *testing.T) {
	here, err := filepath.Abs(".")
	check(t, err)
	folder := t.TempDir()
	write := func(name, text string) {
		check(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666))
	}
	write("go.mod", fmt.Sprintf("module example.com/empty\n\ngo 1.25.0\n\nrequire github.com/caudal-project/caudal/go v0.0.0\n\nreplace github.com/caudal-project/caudal/go => %s\n", here))
	write("main.go", `package main

import (
	"fmt"

	caudal "github.com/caudal-project/caudal/go"
)

func main() { fmt.Println(caudal.Devices()) }
`)
	command := func(name string, arguments ...string) string {
		c := exec.Command(name, arguments...)
		c.Dir, c.Env = folder, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, arguments, err, out)
		}
		return string(out)
	}
	command("go", "mod", "tidy")
	command("go", "build", "-o", "empty", ".")
	if out := command("./empty"); out != "[cpu] <nil>\n" {
		t.Errorf("it prints %s", out)
	}
	if linked := exec.Command("ldd", filepath.Join(folder, "empty")); linked.Err == nil {
		out, _ := linked.CombinedOutput()
		if !strings.Contains(string(out), "not a dynamic executable") {
			t.Errorf("the binary is not static:\n%s", out)
		}
	}
}
