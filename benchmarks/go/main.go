// Command go is the side of benchmarks/race.py that runs in Go: go CONTENDER TASK FOLDER.
//
// It is built twice: with CGO_ENABLED=0, where caudal and GoMLX are pure Go, and with the tag caudal_native, where
// caudal runs through cgo and ONNX Runtime is there, too.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// numberedSteps is how many steps "numbers" makes.
const numberedSteps = 3

// A step is one training step or prediction; it gives the loss or the probabilities.
type step func(b batch) ([]float32, error)

// A contender prepares a task.
type contender struct {
	module  string
	prepare func(task, folder string) (step, error)
}

var contenders = map[string]contender{
	"caudal pure":   {"", withCaudal},
	"caudal native": {"", withCaudal},
	"gomlx":         {"github.com/gomlx/gomlx", withGoMLX},
}

func main() {
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("absent", strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

// serve answers on standard output until standard input ends.
func serve(name, task, folder string) error {
	c, there := contenders[name]
	if !there {
		return fmt.Errorf("%s is not in this binary", name)
	}
	run, err := c.prepare(task, folder)
	if err != nil {
		return err
	}
	data, err := batches(task, folder)
	if err != nil {
		return err
	}
	at := 0
	next := func() ([]float32, error) {
		at++
		return run(data[(at-1)%len(data)])
	}
	fmt.Println("ready", version(c.module))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		request, argument, _ := strings.Cut(lines.Text(), " ")
		if err := answer(request, argument, next); err != nil {
			return err
		}
	}
	return nil
}

// answer does what one line asks for.
func answer(request, argument string, next func() ([]float32, error)) error {
	switch request {
	case "numbers":
		var numbers []float32
		for range numberedSteps {
			values, err := next()
			if err != nil {
				return err
			}
			numbers = append(numbers, values...)
		}
		fmt.Println("numbers", strings.Trim(fmt.Sprint(numbers), "[]"))
	case "steps":
		count, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		start := time.Now()
		for range count {
			if _, err := next(); err != nil {
				return err
			}
		}
		fmt.Println("seconds", time.Since(start).Seconds())
	case "peak":
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			return err
		}
		// Linux counts in KiB.
		fmt.Println("peak", float64(usage.Maxrss)*1024/1e6)
	}
	return nil
}

// version is that of a module that this binary was built with; caudal itself is the one of this tree.
func version(module string) string {
	if info, there := debug.ReadBuildInfo(); there {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return ""
}
