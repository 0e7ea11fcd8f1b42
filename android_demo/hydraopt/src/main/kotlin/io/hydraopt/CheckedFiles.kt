package io.hydraopt

import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.attribute.FileTime

/**
 * Remembers which files passed a check, so that it need not read them again.
 *
 * A file is the same if its inode, size and times are. The time of its last change counts, which
 * nobody can set: content that is replaced with the old size and the old time of modification is
 * another one.
 *
 * @param record where it is kept; null remembers nothing.
 */
internal class CheckedFiles(private val record: File?) {
    private val known = record?.let(::lines).orEmpty().toSet()
    private val passed = LinkedHashSet<String>()

    private fun lines(record: File): List<String> =
        try {
            record.readLines()
        } catch (_: IOException) {
            listOf() // the first time
        }

    /** Runs [check], which throws, unless [file] passed it earlier; [expected] is on one line. */
    inline fun unlessKnown(file: File, expected: String, check: () -> Unit) {
        val line = line(file, expected)
        if (line == null || line !in known) check()
        if (line != null) passed.add(line)
    }

    /** [expected] and the file's state before the check; null if that does not tell a change. */
    fun line(file: File, expected: String): String? {
        if (record == null) return null
        val found = try {
            Files.readAttributes(file.toPath(), STATE)
        } catch (_: IOException) {
            return null
        } catch (_: UnsupportedOperationException) { // a platform without these attributes
            return null
        } catch (_: IllegalArgumentException) {
            return null
        }
        val changed = (found.getValue("ctime") as FileTime).toMillis()
        if (changed > System.currentTimeMillis() - RECENT) return null
        return "$expected ${found.toSortedMap().values.joinToString(" ")}"
    }

    /** Keeps what passed. Without space for it the next check reads all again. */
    fun save() {
        if (record == null || passed == known) return
        val aside = File(record.path + ".writing")
        try {
            aside.writeText(passed.joinToString("\n"))
            aside.renameTo(record)
        } catch (_: IOException) {
            aside.delete()
        }
    }

    private companion object {
        const val STATE = "unix:size,ino,dev,lastModifiedTime,ctime"
        const val RECENT = 2000 // milliseconds: within a tick of the clock, a change is not seen
    }
}
