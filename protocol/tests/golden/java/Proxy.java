// Stands between clients and one broker, and prints what passes: "api version request hex" and "api version response hex", frames
// without their length. Usage: java Proxy.java LISTEN_PORT BROKER_PORT. Of each API, version and direction it prints a few.

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

public class Proxy {
    /** Longer frames are passed on but not printed. */
    static final int LONGEST = 1500;

    /** How many different frames of one API, version and direction are printed. */
    static final int MOST = 6;

    static final Map<String, Map<String, Boolean>> printed = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        int brokerPort = Integer.parseInt(arguments[1]);
        ServerSocket listener = new ServerSocket(Integer.parseInt(arguments[0]), 50, InetAddress.getLoopbackAddress());
        while (true) {
            Socket client = listener.accept();
            Socket broker = new Socket(InetAddress.getLoopbackAddress(), brokerPort);
            Map<Integer, String> sent = new ConcurrentHashMap<>();
            start(() -> pass(client, broker, frame -> {
                ByteBuffer header = ByteBuffer.wrap(frame);
                String request = header.getShort() + " " + header.getShort();
                sent.put(header.getInt(), request);
                print(request + " request", frame);
            }));
            start(() -> pass(broker, client, frame -> print(sent.remove(ByteBuffer.wrap(frame).getInt()) + " response", frame)));
        }
    }

    interface Watcher {
        void saw(byte[] frame);
    }

    static void start(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
    }

    static void pass(Socket from, Socket to, Watcher watcher) {
        try (from; to) {
            DataInputStream in = new DataInputStream(from.getInputStream());
            DataOutputStream out = new DataOutputStream(to.getOutputStream());
            while (true) {
                byte[] frame = new byte[in.readInt()];
                in.readFully(frame);
                watcher.saw(frame);
                out.writeInt(frame.length);
                out.write(frame);
                out.flush();
            }
        } catch (EOFException | SocketException end) {
            // One side has closed the connection, and so do we.
        } catch (IOException error) {
            System.err.println(error);
        }
    }

    static synchronized void print(String name, byte[] frame) {
        // Two frames of the same length differ in numbers only, mostly.
        Map<String, Boolean> lengths = printed.computeIfAbsent(name, key -> new HashMap<>());
        if (frame.length <= LONGEST && lengths.size() < MOST && lengths.put("" + frame.length, true) == null) {
            System.out.println(name + " " + HexFormat.of().formatHex(frame));
        }
    }
}
