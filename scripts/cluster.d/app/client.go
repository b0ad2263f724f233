package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// attempt is one connection: when its first packet was sent, when it ended and who answered, or why
// there was no answer.
type attempt struct {
	sent, ended  time.Time
	pod, failure string
}

// recording is what one target was seen to do between /start and /stop.
type recording struct {
	cancel   context.CancelFunc
	lock     sync.Mutex // of attempts: every connection ends in a goroutine of its own
	attempts []attempt
	running  sync.WaitGroup
}

// stint is a run of answers by the same pod, in the order in which the connections were opened.
type stint struct {
	Pod   string  `json:"pod"`
	Count int     `json:"count"`
	First float64 `json:"first"` // seconds since 1970
	Last  float64 `json:"last"`
}

type summary struct {
	Attempts     int            `json:"attempts"`
	Failed       int            `json:"failed"`
	Failures     map[string]int `json:"failures"`
	FirstFailure float64        `json:"first_failure"`
	LastFailure  float64        `json:"last_failure"`
	LongestGap   float64        `json:"longest_gap_ms"`
	SlowestMs    float64        `json:"slowest_ms"`
	Stints       []stint        `json:"stints"`
}

// client opens a new connection to every target at every tick, whether or not earlier ones have
// ended, as independent users would.
func client(arguments []string) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	address := flags.String("address", ":8080", "address to take orders on")
	_ = flags.Parse(arguments)
	var lock sync.Mutex // of recordings
	recordings := map[string]*recording{}

	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/start", func(response http.ResponseWriter, request *http.Request) {
		query := request.URL.Query()
		every, err := time.ParseDuration(query.Get("every"))
		if err != nil || every < time.Millisecond {
			http.Error(response, "every: expected a duration of at least 1ms", http.StatusBadRequest)
			return
		}
		lock.Lock()
		defer lock.Unlock()
		for _, target := range query["target"] {
			if old := recordings[target]; old != nil {
				old.cancel()
			}
			recordings[target] = record(target, every)
		}
	})
	http.HandleFunc("/last", func(response http.ResponseWriter, _ *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		last := map[string]string{}
		for target, recording := range recordings {
			last[target] = recording.last()
		}
		_ = json.NewEncoder(response).Encode(last)
	})
	http.HandleFunc("/stop", func(response http.ResponseWriter, _ *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		summaries := map[string]summary{}
		for target, recording := range recordings {
			recording.cancel()
			recording.running.Wait()
			summaries[target] = summarize(recording.attempts)
		}
		clear(recordings)
		_ = json.NewEncoder(response).Encode(summaries)
	})
	log.Fatal(http.ListenAndServe(*address, nil))
}

func record(target string, every time.Duration) *recording {
	ctx, cancel := context.WithCancel(context.Background())
	record := &recording{cancel: cancel}
	record.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				record.running.Go(func() { record.connect(target) })
			}
		}
	})
	return record
}

// patience is how long a connection may take: longer than a SYN that is sent once more.
const patience = 2 * time.Second

func (r *recording) connect(target string) {
	sent, pod, err := ask(target)
	done := attempt{sent: sent, ended: time.Now(), pod: pod}
	if err != nil {
		done.failure = kind(err)
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.attempts = append(r.attempts, done)
}

// last is the pod that answered last, empty while none has.
func (r *recording) last() string {
	r.lock.Lock()
	defer r.lock.Unlock()
	for at := len(r.attempts) - 1; at >= 0; at-- {
		if r.attempts[at].failure == "" {
			return r.attempts[at].pod
		}
	}
	return ""
}

func ask(target string) (sent time.Time, pod string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sent = time.Now()
	// The name is resolved before this is called, and nothing but the connect comes after it.
	dialer := net.Dialer{Control: func(_, _ string, _ syscall.RawConn) error {
		sent = time.Now()
		return nil
	}}
	connection, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return sent, "", err
	}
	defer connection.Close()
	deadline, _ := ctx.Deadline()
	_ = connection.SetDeadline(deadline)
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"); err != nil {
		return sent, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return sent, "", err
	}
	defer response.Body.Close()
	name, err := io.ReadAll(response.Body)
	return sent, string(name), err
}

func kind(err error) string {
	var lookup *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &lookup):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	default:
		return err.Error()
	}
}

func summarize(attempts []attempt) summary {
	slices.SortFunc(attempts, func(a, b attempt) int { return a.sent.Compare(b.sent) })
	result := summary{Attempts: len(attempts), Failures: map[string]int{}, Stints: []stint{}}
	var answered []time.Time
	for _, each := range attempts {
		sent := seconds(each.sent)
		if each.failure != "" {
			result.Failed++
			result.Failures[each.failure]++
			if result.FirstFailure == 0 {
				result.FirstFailure = sent
			}
			result.LastFailure = sent
			continue
		}
		answered = append(answered, each.ended)
		result.SlowestMs = max(result.SlowestMs, milliseconds(each.ended.Sub(each.sent)))
		last := len(result.Stints) - 1
		if last < 0 || result.Stints[last].Pod != each.pod {
			result.Stints = append(result.Stints, stint{Pod: each.pod, First: sent})
			last++
		}
		result.Stints[last].Count++
		result.Stints[last].Last = sent
	}
	slices.SortFunc(answered, time.Time.Compare)
	for at := 1; at < len(answered); at++ {
		result.LongestGap = max(result.LongestGap, milliseconds(answered[at].Sub(answered[at-1])))
	}
	return result
}

func seconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }

func milliseconds(span time.Duration) float64 { return float64(span.Microseconds()) / 1e3 }
