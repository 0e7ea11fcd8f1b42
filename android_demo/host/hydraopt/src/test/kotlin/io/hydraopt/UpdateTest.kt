package io.hydraopt

import java.io.File
import kotlin.concurrent.thread
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Updates that Python made are installed whole, or refused in Python's words. */
class UpdateTest {
    private fun update(name: String) = Fixtures.file("updates/$name.zip")

    private fun key(name: String) = Fixtures.file("keys/$name").readText()

    private fun bundle(test: (TaskBundle, File) -> Unit) {
        val directory = Fixtures.copied("tiny")
        test(TaskBundle.open(directory), directory)
        directory.deleteRecursively()
    }

    private fun logits(directory: File, task: String): List<Float> =
        TaskSession.open(directory).use {
            it.switchTo(task)
            it.forward(intArrayOf(5, 17, 99)).toList()
        }

    /** Path inside a directory to content. */
    private fun contents(directory: File): Map<String, List<Byte>> =
        directory.walk().filter { it.isFile }
            .associate { it.relativeTo(directory).path to it.readBytes().toList() }

    /** What a manifest says but for its digest and the names of packs. */
    private fun said(directory: File): String =
        File(directory, "manifest.json").readText()
            .replace(Regex("\"digest\": .*"), "")
            .replace(Regex("packs/(later|[0-9a-f]{16}).pack"), "")

    @Test
    fun aCopyGetsWhatPythonPutIntoTheBundle() = bundle { bundle, directory ->
        assertEquals(TaskUpdate("later", 1), bundle.install(update("later")))
        val wanted = Fixtures.file("updates/with-later")
        assertEquals(Json.parse(said(wanted)), Json.parse(said(directory)))
        assertEquals(logits(wanted, "later"), logits(directory, "later"))
        assertEquals(TaskUpdate("later", 2), bundle.install(update("later-2")))
        assertEquals(mapOf("later" to 2), TaskBundle.open(directory).manifest.versions)
        assertEquals(logits(Fixtures.file("updates/first"), "later"), logits(directory, "later"))
        assertEquals(TaskUpdate("other", 1), bundle.install(update("other")))
        val tasks = listOf("alpha", "beta", "gamma", "later", "other")
        assertEquals(tasks, TaskBundle.open(directory).tasks)
        assertEquals(5, File(directory, "packs").list()!!.size)
        directory.copyRecursively(Fixtures.file("installed"), overwrite = true)
    }

    @Test
    fun anOpenSessionKeepsItsTasks() = bundle { bundle, directory ->
        bundle.install(update("later"))
        val wanted = logits(directory, "later")
        TaskSession.open(directory).use { session ->
            bundle.install(update("later-2"))
            session.switchTo("beta")
            session.switchTo("later") // whose file is gone
            assertEquals(wanted, session.forward(intArrayOf(5, 17, 99)).toList())
            bundle.install(update("other"))
            refuses<TaskException>("no task 'other'") { session.switchTo("other") }
        }
        assertTrue(wanted != logits(directory, "later"))
    }

    @Test
    fun whatIsInstalledOrOlderIsRefused() = bundle { bundle, _ ->
        bundle.install(update("later"))
        refuses<TaskException>("is installed already: ") { bundle.install(update("later")) }
        bundle.install(update("later-2"))
        refuses<TaskException>("has version 1 of task 'later', older than 2 in") {
            bundle.install(update("later"))
        }
    }

    @Test
    fun whatPythonRefusesIsRefusedInItsWords() = bundle { bundle, directory ->
        val before = contents(directory)
        val cases = Fixtures.records("updates/refused.json")
        assertTrue(cases.size > 25)
        for (case in cases) {
            refuses<HydraOptException>(case.string("message")) {
                bundle.install(Fixtures.file("updates/refused/${case.string("file")}"))
            }
        }
        assertEquals(before, contents(directory))
    }

    @Test
    fun aBundleWithoutPacksTakesNone() {
        val directory = Fixtures.copied("static")
        refuses<BundleException>("has its adapters in the program and takes no further one") {
            TaskBundle.open(directory).install(update("later"))
        }
        directory.deleteRecursively()
    }

    @Test
    fun onlyItsDevelopersUpdatesAreInstalledWithAKey() = bundle { bundle, directory ->
        val before = contents(directory)
        val mine = Ed25519(key("mine.pub"))
        refuses<BundleException>("other.zip is not signed, expected a signature") {
            bundle.install(update("other"), mine)
        }
        refuses<BundleException>("later.zip is signed by another key, or was changed") {
            bundle.install(update("later"), Ed25519(key("other.pub")))
        }
        refuses<BundleException>("changed.zip is signed by another key, or was changed") {
            bundle.install(update("changed"), mine)
        }
        assertEquals(before, contents(directory))
        bundle.install(update("later"), mine)
    }

    @Test
    fun whatWasRemovedLeavesTheBundleAsItWas() = bundle { bundle, directory ->
        val before = contents(directory)
        val manifest = said(directory)
        bundle.install(update("later"))
        bundle.install(update("other"))
        refuses<TaskException>("no task 'nobody'; there are: alpha") { bundle.remove("nobody") }
        bundle.remove("later")
        bundle.remove("other")
        assertEquals(before.keys, contents(directory).keys)
        assertEquals(Json.parse(manifest), Json.parse(said(directory)))
        bundle.remove("alpha") // the export's
        assertEquals(listOf("beta", "gamma"), TaskBundle.open(directory).tasks)
        assertFalse(File(directory, "packs/alpha.pack").exists())
        bundle.remove("beta")
        refuses<TaskException>("'gamma' is the only task of $directory; delete") {
            bundle.remove("gamma")
        }
    }

    @Test
    fun whatIsNoPackOfTheBundleStays() = bundle { bundle, directory ->
        val foreign = listOf("notes.txt", "short.pack", "other.pack")
            .map { File(directory, "packs/$it") }
        foreign[0].writeText("mine")
        foreign[1].writeText("HYDRAPK1")
        foreign[2].writeText("HYDRAPK1" + "x".repeat(80)) // bound to another layout
        bundle.install(update("later"))
        bundle.remove("later")
        for (file in foreign) assertTrue("$file", file.exists())
    }

    /** An update that replaces a version, so that it also removes a pack. */
    @Test
    fun aKillAtEveryStepLeavesTheOldBundleOrTheNewOne() = bundle { first, directory ->
        first.install(update("later"))
        val old = contents(directory)
        first.install(update("later-2"))
        val new = contents(directory)
        val found = ArrayList<String>()
        for (step in generateSequence(0) { it + 1 }) {
            restore(directory, old)
            val killed = killed(directory, step)
            val bundle = TaskBundle.open(directory) // checks every hash
            found.add("${bundle.manifest.versions}")
            val again = runCatching { bundle.install(update("later-2")) }
            assertEquals(found.last() == "{}", again.isSuccess)
            again.exceptionOrNull()?.let { assertTrue("$it", it is TaskException) }
            bundle.install(update("other"))
            bundle.remove("other")
            assertEquals(new.keys, contents(directory).keys)
            if (!killed) break
        }
        assertTrue("$found", found.size > MOST_CERTAINLY && found == found.sortedBy { it.length })
        assertEquals(setOf("{}", "{later=2}"), found.toSet())
    }

    private fun restore(directory: File, contents: Map<String, List<Byte>>) {
        directory.listFiles()!!.forEach { it.deleteRecursively() }
        for ((name, content) in contents) {
            File(directory, name).run {
                parentFile.mkdirs()
                writeBytes(content.toByteArray())
            }
        }
    }

    /** Whether a process that installs version 2 was killed before that change of the disk. */
    private fun killed(directory: File, step: Int): Boolean {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val path = System.getProperty("surefire.test.class.path")
            ?: System.getProperty("java.class.path")
        val process = ProcessBuilder(
            java, "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp", path,
            Installing::class.java.name, directory.path, update("later-2").path
        )
        process.environment() += mapOf(
            "LD_PRELOAD" to System.getProperty("kill.library"),
            "KILL_BELOW" to directory.path,
            "KILL_AT" to "$step"
        )
        val code = process.inheritIO().start().waitFor()
        assertTrue("$code", code == 0 || code == SIGKILL)
        return code == SIGKILL
    }

    @Test
    fun bundlesAreOpenedWhileTheyAreChanged() = bundle { bundle, directory ->
        val changes = thread {
            repeat(ROUNDS) {
                bundle.install(update("later"))
                bundle.install(update("later-2"))
                bundle.remove("later")
            }
        }
        val seen = HashSet<Map<String, Int>>()
        while (changes.isAlive) {
            seen.add(TaskBundle.open(directory, hashes = false).manifest.versions)
        }
        assertTrue("$seen", seen.size == 2)
    }

    @Test
    fun aDirectoryThatCannotBeWrittenIsOneLine() = bundle { bundle, directory ->
        val packs = File(directory, "packs")
        val elsewhere = File("$directory.packs")
        packs.renameTo(elsewhere)
        packs.writeText("no directory")
        refuses<OutputException>("cannot write $directory (") { bundle.install(update("later")) }
        packs.delete()
        elsewhere.renameTo(packs)
        assertFalse(File(directory, ".writing").exists())
        bundle.install(update("later"))
    }

    companion object {
        private const val MOST_CERTAINLY = 12 // changes of the disk
        private const val ROUNDS = 100
        private const val SIGKILL = 128 + 9

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}

/** Installs an update in a process of its own. */
object Installing {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val (directory, update) = arguments.map(::File)
        TaskBundle.open(directory, hashes = false).install(update)
    }
}
