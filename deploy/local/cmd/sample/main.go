// Command sample is the program in the images of a real node: an application that
// behaves as its arguments say, well or ill. Standard library only, so it is static.
//
//	sample serve [-ready-after D] [-sick-after D] [-linger D] [-start-after D]
//	sample end   [-after D] [-code N] [-say TEXT]      ends with a status
//	sample fault [-after D]                            ends by a signal
//	sample eat   [-mib N]                              takes memory until it is killed
//	sample ask   URL                                   0 if the answer is 200: an exec probe
//	sample pause                                       waits for its end
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	modes := map[string]func([]string) int{"serve": serve, "end": end, "fault": fault, "eat": eat, "ask": ask, "pause": pause}
	args := append(os.Args[1:], "")
	mode, found := modes[args[0]]
	if !found {
		fmt.Fprintf(os.Stderr, "sample: unknown mode %q\n", args[0])
		os.Exit(2)
	}
	os.Exit(mode(os.Args[2:]))
}

func parse(name string, args []string, define func(*flag.FlagSet)) {
	fs := flag.NewFlagSet(name, flag.ExitOnError)
	define(fs)
	_ = fs.Parse(args) // ends the program if it fails
}

func pause([]string) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return 0
}

// serve answers HTTP on $PORT (8080):
//
//	/         at once; with ?for=2s after so long
//	/ready    200 from -ready-after on, until a signal ends it
//	/live     200 until -sick-after
//
// After the signal it goes on answering for -linger, because clients learn of its end
// later than it does. Then it accepts no more requests, and ends once all have their
// answer.
func serve(args []string) int {
	var readyAfter, sickAfter, linger, startAfter time.Duration
	parse("serve", args, func(fs *flag.FlagSet) {
		fs.DurationVar(&readyAfter, "ready-after", 0, "")
		fs.DurationVar(&sickAfter, "sick-after", 0, "0: never")
		fs.DurationVar(&startAfter, "start-after", 0, "when it begins to listen")
		fs.DurationVar(&linger, "linger", 2*time.Second, "")
	})
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	begin := time.Now()
	host, _ := os.Hostname()
	health := func(well func(time.Duration) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if !well(time.Since(begin)) {
				http.Error(w, "not now", http.StatusServiceUnavailable)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", health(func(age time.Duration) bool { return age >= readyAfter && stop.Err() == nil }))
	mux.HandleFunc("/live", health(func(age time.Duration) bool { return sickAfter == 0 || age < sickAfter }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if wait, err := time.ParseDuration(r.URL.Query().Get("for")); err == nil {
			time.Sleep(wait)
		}
		fmt.Fprintf(w, "sample %s on %s\n", os.Getenv("SAMPLE_TAG"), host)
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	fmt.Printf("sample %s starts on %s\n", os.Getenv("SAMPLE_TAG"), host)
	select {
	case <-time.After(startAfter):
	case <-stop.Done():
		return 0
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listening on port", port)
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		fmt.Println("asked to end; finishing what is in flight")
		time.Sleep(linger)
		ended <- server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("all answered")
	return 0
}

func end(args []string) int {
	var after time.Duration
	var code int
	var say string
	parse("end", args, func(fs *flag.FlagSet) {
		fs.DurationVar(&after, "after", 0, "")
		fs.IntVar(&code, "code", 0, "")
		fs.StringVar(&say, "say", "the end", "")
	})
	time.Sleep(after)
	fmt.Fprintln(os.Stderr, say)
	return code
}

// fault reads an invalid address, as a program with a bug does. Go would turn the fault
// into a panic with an exit status, so the signal's default action is restored first.
// The first process of a container can be killed by a fault, but not by a signal that
// it sends itself.
func fault(args []string) int {
	var after time.Duration
	parse("fault", args, func(fs *flag.FlagSet) { fs.DurationVar(&after, "after", 0, "") })
	time.Sleep(after)
	fmt.Fprintln(os.Stderr, "about to read what is not there")
	var byDefault [32]byte // struct sigaction: SIG_DFL, no flags
	_, _, failed := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV),
		uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	if failed != 0 {
		fmt.Fprintln(os.Stderr, failed)
		return 1
	}
	var nowhere *int
	return *nowhere
}

func eat(args []string) int {
	var mib int
	parse("eat", args, func(fs *flag.FlagSet) { fs.IntVar(&mib, "mib", 1024, "") })
	fmt.Println("taking", mib, "MiB")
	var all [][]byte
	for range mib {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1 // memory that is not written is not allocated
		}
		all = append(all, block)
		time.Sleep(time.Millisecond)
	}
	fmt.Println("has", len(all), "MiB")
	return pause(nil)
}

func ask(args []string) int {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(strings.Join(args, ""))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	fmt.Printf("%s: %s", response.Status, text)
	if response.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}
