cmd_net/tsi/built-in.a := rm -f net/tsi/built-in.a;  printf "net/tsi/%s " core.o table.o request.o addr.o socket.o stream.o stream_io.o dgram.o cmsg.o option.o | xargs ar cDPrST net/tsi/built-in.a
