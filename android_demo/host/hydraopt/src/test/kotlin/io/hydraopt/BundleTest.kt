package io.hydraopt

import java.io.File
import java.io.RandomAccessFile
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Every kind of damage is refused with a clear line, before and after a bundle was opened. */
class BundleTest {
    @Test
    fun everyDamagedBundleIsRefusedAsInPython() {
        val cases = Fixtures.records("damaged/damaged.json")
        assertTrue(cases.size > 40)
        for (case in cases) {
            val directory = Fixtures.file("damaged/${case.string("bundle")}")
            refuses<BundleException>(case.string("message")) { TaskSession.open(directory).close() }
        }
    }

    @Test
    fun whatABundleHolds() {
        val bundle = TaskBundle.open(Fixtures.file("zoo"))
        assertEquals(40, bundle.tasks.size)
        assertTrue("date-en" in bundle.tasks)
        assertEquals("hydraopt/zoo-base", bundle.manifest.baseModel)
        assertEquals(setOf(257), (bundle.manifest.model as Model.CausalLm).eosIds)
        val others = setOf("manifest.json", "hydraopt-files.json", "layout.json", "shared.pack") -
            bundle.manifest.files.keys
        val files = Fixtures.file("zoo").walk().filter { it.isFile && it.name !in others }
        assertEquals(files.sumOf { it.length() }, bundle.bytes)
    }

    @Test
    fun tasksMayHaveNamesOfAllLetters() {
        val names = Fixtures.records("renamed.json").map { it.string("name") }
        TaskSession.open(Fixtures.file("renamed")).use { session ->
            assertEquals(names, session.tasks)
            for (name in names) {
                session.switchTo(name)
                assertEquals(name, session.task)
            }
        }
    }

    @Test
    fun aPackThatIsOverwrittenAfterOpeningIsRefused() {
        val directory = Fixtures.copied("pieces")
        val pack = File(directory, "packs/beta.pack")
        val good = pack.readBytes()
        TaskSession.open(directory).use { session ->
            session.switchTo("beta")
            val wanted = session.generate("hello").ids
            RandomAccessFile(pack, "rw").use {
                it.seek(100)
                it.write(good[100].toInt() xor 1)
            }
            refuses<BundleException>("beta.pack is damaged or from another bundle") {
                session.switchTo("beta")
            }
            assertEquals(wanted, session.generate("hello").ids) // the task before is still current
            pack.writeBytes(good)
            session.switchTo("beta")
            assertEquals(wanted, session.generate("hello").ids)
            RandomAccessFile(pack, "rw").use { it.setLength(100) }
            refuses<BundleException>("beta.pack is damaged: it ends after 100 bytes") {
                session.switchTo("beta")
            }
        }
        directory.deleteRecursively()
    }

    @Test
    fun aSwitchThatFailsLeavesTaskAndCacheAsTheyWere() {
        val directory = Fixtures.copied("pieces")
        TaskSession.open(directory).use { session ->
            session.switchTo("alpha")
            session.forward(intArrayOf(9, 8))
            val wanted = session.forward(intArrayOf(7)).copyOf()
            session.reset()
            session.forward(intArrayOf(9, 8))
            RandomAccessFile(File(directory, "packs/beta.pack"), "rw").use { it.setLength(100) }
            refuses<BundleException>("beta.pack is damaged") { session.switchTo("beta") }
            refuses<TaskException>("no task 'delta'") { session.switchTo("delta") }
            assertEquals("alpha", session.task)
            assertEquals(2, session.position)
            assertEquals(wanted.toList(), session.forward(intArrayOf(7)).toList())
        }
        directory.deleteRecursively()
    }

    @Test
    fun aPackThatIsReplacedByRenamingChangesNothing() {
        val directory = Fixtures.copied("pieces")
        TaskSession.open(directory).use { session ->
            session.switchTo("beta")
            val wanted = session.generate("hello").ids
            File(directory, "packs/alpha.pack").copyTo(File(directory, "new"))
            assertTrue(File(directory, "new").renameTo(File(directory, "packs/beta.pack")))
            session.switchTo("beta")
            assertEquals(wanted, session.generate("hello").ids)
        }
        directory.deleteRecursively()
    }

    @Test
    fun withoutHashesSizesAndPacksAreStillChecked() {
        val directory = Fixtures.copied("pieces")
        val pack = File(directory, "packs/beta.pack")
        RandomAccessFile(pack, "rw").use {
            it.seek(100)
            it.write(it.read() xor 1)
        }
        TaskSession.open(TaskBundle.open(directory, hashes = false)).use { session ->
            session.switchTo("alpha")
            refuses<BundleException>("beta.pack is damaged or from another") {
                session.switchTo("beta")
            }
        }
        pack.appendText("x")
        File(directory, "tokenizer.json").appendText(" ")
        refuses<BundleException>("tokenizer.json is damaged or from another directory") {
            TaskBundle.open(directory, hashes = false)
        }
        directory.deleteRecursively()
    }

    @Test
    fun aProgramThatIsLargerThanTheFreeMemoryIsOpenedAllTheSameOnRequest() {
        val bundle = TaskBundle.open(Fixtures.file("zoo"))
        refuses<MemoryException>("has 3 MB, but only 1 MB of memory are free; close other apps") {
            TaskSession.open(bundle, freeMemory = 1_000_000)
        }
        for (free in listOf(null, 10_000_000L)) TaskSession.open(bundle, freeMemory = free).close()
        assertTrue(TaskSession.freeMemory()!! > 10_000_000)
    }

    /** A bundle whose files are old enough to be remembered, and a directory to remember them. */
    private fun remembered(test: (directory: File, cache: File) -> Unit) {
        val directory = Fixtures.copied("pieces")
        val cache = File(directory, "cache").apply { mkdir() }
        Thread.sleep(2100)
        TaskBundle.open(directory, cache = cache)
        assertEquals(1, cache.list()!!.size)
        test(directory, cache)
        directory.deleteRecursively()
    }

    @Test
    fun whatWasCheckedIsNotReadAgain() = remembered { directory, cache ->
        val record = cache.listFiles()!!.single()
        val written = record.readText()
        val count = TaskBundle.open(directory).manifest.run { files.size + packs.size }
        assertEquals(count, written.lines().size)
        val file = File(directory, "tokenizer.json").apply { setWritable(true) }
        RandomAccessFile(file, "rw").use { it.write('['.code) }
        refuses<BundleException>("tokenizer.json is damaged") {
            TaskBundle.open(directory, cache = cache)
        }
        // the record alone says that it is good: it was believed, and the file not read
        Thread.sleep(2100)
        val expected = written.lines().first { "tokenizer.json" in it }.substringBefore(')') + ")"
        record.writeText("$written\n${CheckedFiles(record).line(file, expected)}")
        TaskBundle.open(directory, cache = cache)
        refuses<BundleException>("tokenizer.json is damaged") { TaskBundle.open(directory) }
    }

    @Test
    fun whatChangedIsCheckedAgain() = remembered { directory, cache ->
        for (name in listOf("model.pte", "packs/beta.pack")) {
            val file = File(directory, name)
            val modified = file.lastModified()
            val byte = RandomAccessFile(file, "rw").use {
                it.seek(100)
                val byte = it.read()
                it.seek(100)
                it.write(byte xor 1)
                byte
            }
            assertTrue(file.setLastModified(modified))
            refuses<BundleException>("$name is damaged") {
                TaskBundle.open(directory, cache = cache)
            }
            RandomAccessFile(file, "rw").use {
                it.seek(100)
                it.write(byte)
            }
            TaskBundle.open(directory, cache = cache)
        }
        val copy = File(directory, "copy")
        File(directory, "model.pte").copyTo(copy)
        RandomAccessFile(copy, "rw").use { it.write(1) }
        assertTrue(copy.renameTo(File(directory, "model.pte")))
        refuses<BundleException>("model.pte is damaged") {
            TaskBundle.open(directory, cache = cache)
        }
    }

    @Test
    fun aRecordThatCannotBeReadOrWrittenCostsTimeOnly() = remembered { directory, cache ->
        val record = cache.listFiles()!!.single()
        record.writeBytes(byteArrayOf(-1, 0, 10, 10))
        TaskBundle.open(directory, cache = cache)
        record.delete()
        record.mkdir()
        TaskBundle.open(directory, cache = cache)
        TaskBundle.open(directory, cache = File(directory, "nowhere"))
    }

    @Test
    fun aDirectoryThatIsNoneIsRefused() {
        refuses<BundleException>(
            "manifest.json is missing; expected a directory that `hydraopt export`"
        ) {
            TaskBundle.open(File("/nowhere/at/all"))
        }
        refuses<BundleException>("manifest.json is missing") {
            TaskBundle.open(Fixtures.file("zoo/model.pte"))
        }
    }

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
