// The one program in the pods of the real cluster: a server that misbehaves on request, a client
// that counts what it sees of a Service, and the process that holds a pod's sandbox.
//
//	app serve [-on-term drain|exit|ignore] [-drain 3s]
//	app client
//	app pause
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	commands := map[string]func([]string){"serve": serve, "client": client, "pause": pause}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "app: got %q, expected serve, client or pause\n", os.Args[1:])
		os.Exit(2)
	}
	commands[os.Args[1]](os.Args[2:])
}

// pause waits for its end and collects the processes that a pod leaves behind.
func pause([]string) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
