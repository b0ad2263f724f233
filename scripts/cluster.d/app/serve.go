package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server answers every request with the name of its pod, until it is told to do something else.
type server struct {
	name   string
	failed atomic.Bool
	hung   atomic.Bool
	lock   sync.Mutex // of held, which only /allocate touches
	held   [][]byte
}

func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("address", ":8080", "address to listen on")
	onTerm := flags.String("on-term", "drain", "at SIGTERM: drain (serve on, then exit), exit (at once) or ignore")
	drain := flags.Duration("drain", 3*time.Second, "how long to serve on")
	_ = flags.Parse(arguments)
	switch *onTerm {
	case "drain", "exit", "ignore":
	default:
		log.Fatalf("app: -on-term: got %q, expected drain, exit or ignore", *onTerm)
	}

	name, err := os.Hostname()
	if err != nil {
		log.Fatalf("app: the pod's name: %v", err)
	}
	state := &server{name: name}
	routes := http.NewServeMux()
	routes.HandleFunc("/", state.answer)
	routes.HandleFunc("/healthz", state.probe)
	routes.HandleFunc("/fail", state.set(&state.failed, true))
	routes.HandleFunc("/recover", state.set(&state.failed, false))
	routes.HandleFunc("/hang", state.set(&state.hung, true))
	routes.HandleFunc("/exit", state.exit)
	routes.HandleFunc("/allocate", state.allocate)
	routes.HandleFunc("/fill", fill)

	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	go func() {
		<-terms
		switch *onTerm {
		case "drain":
			time.Sleep(*drain)
			os.Exit(0)
		case "exit":
			os.Exit(0)
		}
	}()
	log.Fatal(http.ListenAndServe(*address, routes))
}

// wait holds a request for as long as the server hangs, which is for ever.
func (s *server) wait(request *http.Request) {
	if s.hung.Load() {
		<-request.Context().Done()
	}
}

func (s *server) answer(response http.ResponseWriter, request *http.Request) {
	s.wait(request)
	fmt.Fprint(response, s.name)
}

func (s *server) probe(response http.ResponseWriter, request *http.Request) {
	s.wait(request)
	if s.failed.Load() {
		http.Error(response, "told to fail", http.StatusServiceUnavailable)
	}
}

func (s *server) set(what *atomic.Bool, value bool) http.HandlerFunc {
	return func(response http.ResponseWriter, _ *http.Request) {
		what.Store(value)
		fmt.Fprint(response, s.name)
	}
}

func (s *server) exit(response http.ResponseWriter, request *http.Request) {
	code, ok := number(response, request, "code")
	if !ok {
		return
	}
	fmt.Fprint(response, s.name)
	go func() {
		time.Sleep(20 * time.Millisecond) // the answer is on its way
		os.Exit(code)
	}()
}

// allocate takes memory and touches every page of it: above the limit the kernel ends the process.
func (s *server) allocate(response http.ResponseWriter, request *http.Request) {
	megabytes, ok := number(response, request, "mb")
	if !ok {
		return
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	for range megabytes {
		block := make([]byte, 1<<20)
		for at := 0; at < len(block); at += 4096 {
			block[at] = 1
		}
		s.held = append(s.held, block)
	}
	fmt.Fprint(response, s.name)
}

// fill writes to the pod's scratch volume: above its limit the kubelet evicts the pod.
func fill(response http.ResponseWriter, request *http.Request) {
	megabytes, ok := number(response, request, "mb")
	if !ok {
		return
	}
	if err := os.WriteFile("/scratch/fill", make([]byte, megabytes<<20), 0o600); err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
	}
}

func number(response http.ResponseWriter, request *http.Request, name string) (int, bool) {
	value, err := strconv.Atoi(request.URL.Query().Get(name))
	if err != nil {
		http.Error(response, name+": expected a number", http.StatusBadRequest)
	}
	return value, err == nil
}
