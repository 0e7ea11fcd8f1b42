package io.hydraopt

import java.io.File
import java.net.URI
import javax.tools.JavaFileObject
import javax.tools.SimpleJavaFileObject
import javax.tools.ToolProvider
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** An app in Java can call all of the library. */
class JavaTest {
    private class Source(private val text: String) :
        SimpleJavaFileObject(URI.create("string:///App.java"), JavaFileObject.Kind.SOURCE) {
        override fun getCharContent(ignoreEncodingErrors: Boolean) = text
    }

    private val app = """
        import io.hydraopt.*;
        import java.io.File;
        import kotlin.Unit;

        class App {
            String answer(File directory, Cancellation cancellation) {
                TaskBundle bundle = TaskBundle.open(directory);
                bundle.install(directory, new Ed25519("")).getVersion();
                bundle.install(directory);
                bundle.remove("a");
                try (TaskSession session = TaskSession.open(bundle)) {
                    SwitchTimes times = session.switchTo(bundle.getTasks().get(0));
                    Options options = new Options(8, 0.7f);
                    session.generateIds(session.encode("hello"));
                    session.switchTo(java.util.Map.of("a", 0.6f, "b", 1f));
                    session.switchTo("a", 0.7f);
                    session.switchToBase();
                    session.rewind(0);
                    session.reset();
                    session.forward(new int[] {1});
                    Generation answer = session.generate("hello", options, cancellation, piece -> {
                        cancellation.cancel();
                        return Unit.INSTANCE;
                    });
                    return answer.getText() + answer.getEnd() + times.getMillis();
                } catch (HydraOptException error) {
                    return error.getMessage();
                }
            }
        }
    """

    @Test
    fun anAppInJavaCompiles() {
        val compiler = ToolProvider.getSystemJavaCompiler()
        val output = File.createTempFile("classes", "").apply { delete(); mkdir() }
        val path = listOf(TaskSession::class.java, Unit::class.java)
            .joinToString(File.pathSeparator) { it.protectionDomain.codeSource.location.path }
        val errors = java.io.StringWriter()
        val options = listOf("-cp", path, "-d", output.path)
        val compiled = compiler.getTask(errors, null, null, options, null, listOf(Source(app)))
        assertTrue("$errors", compiled.call())
        assertEquals(listOf("App.class"), output.list()!!.toList())
        output.deleteRecursively()
    }
}
