package io.hydraopt.demo.benchmark

import io.hydraopt.TaskBundle
import io.hydraopt.TaskSession
import io.hydraopt.UsageException
import java.io.File
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Token ids whose logits are compared: `TASK TAB PROMPT TAB FOLLOWING`, ids with commas.
 *
 * @property prompt passed to the program in one call.
 * @property following passed one by one.
 */
internal class Asked private constructor(
    private val task: String,
    private val prompt: IntArray,
    private val following: IntArray
) {
    /** Appends the logits after the prompt and after each token that follows, float32. */
    private fun write(session: TaskSession, output: OutputStream) {
        session.switchTo(task)
        output.append(session.forward(prompt))
        for (token in following) output.append(session.forward(intArrayOf(token)))
    }

    companion object {
        /** Writes the logits of all lines of a file. Throws [UsageException] for another file. */
        fun writeAll(file: File, bundle: TaskBundle, threads: Int, target: File) {
            val asked = file.readLines().map { parse(it) ?: unreadable(file, it) }
            TaskSession.open(bundle, threads).use { session ->
                target.outputStream().buffered().use { output ->
                    for (line in asked) line.write(session, output)
                }
            }
        }

        private fun parse(line: String): Asked? {
            val parts = line.split('\t').takeIf { it.size == 3 } ?: return null
            val (prompt, following) = parts.drop(1).map { ids(it) ?: return null }
            return Asked(parts[0], prompt, following)
        }

        private fun ids(text: String): IntArray? =
            text.split(',').map { it.toIntOrNull() ?: return null }.toIntArray()

        private fun unreadable(file: File, line: String): Nothing = throw UsageException(
            "$file has the line '${line.take(40)}', expected a task, ids and ids between tabs"
        )

        private fun OutputStream.append(logits: FloatArray) {
            val bytes = ByteBuffer.allocate(4 * logits.size).order(ByteOrder.LITTLE_ENDIAN)
            bytes.asFloatBuffer().put(logits)
            write(bytes.array())
        }
    }
}
