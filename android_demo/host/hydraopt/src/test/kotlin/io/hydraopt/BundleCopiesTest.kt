package io.hydraopt

import java.io.ByteArrayInputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.io.RandomAccessFile
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Copies of bundles in an app's files: whole or not there, with their updates. */
class BundleCopiesTest {
    @get:Rule
    val folder = TemporaryFolder()

    private lateinit var own: File
    private lateinit var copies: BundleCopies

    @Before
    fun make() {
        own = File(folder.root, "own")
        copies = BundleCopies(own)
        copies.tidy()
    }

    /** A file or directory; [read] is asked before it is read. */
    private class Given(private val file: File, private val read: (File) -> Unit) :
        Source by FileSource(file) {
        override val children: List<Source>?
            get() = file.listFiles()?.map { Given(it, read) }

        override fun open(): InputStream {
            read(file)
            return file.inputStream()
        }
    }

    private class Made(override val name: String, override val children: List<Source>? = null) :
        Source {
        override fun open() = ByteArrayInputStream(ByteArray(3))
    }

    private val tiny = FileSource(Fixtures.file("tiny"))

    private fun given(read: (File) -> Unit) = Given(Fixtures.file("tiny"), read)

    private fun present(): List<String> = own.list()!!.sorted()

    @Test
    fun aBundleIsCopiedOnceAndAgainIfTheCopyIsDamaged() {
        var reads = 0
        val source = given { if (it.name != "manifest.json") reads++ }
        assertEquals(File(own, "tiny"), copies.open(source).directory)
        val first = reads
        copies.open(source)
        assertEquals(first, reads)
        File(own, "tiny/model.pte").appendText("x")
        assertEquals(listOf("alpha", "beta", "gamma"), copies.open(source).tasks)
        assertEquals(2 * first, reads)
        copies.copy(source)
        assertEquals(3 * first, reads)
        assertEquals(listOf("tiny"), present())
    }

    @Test
    fun updatesOfACopyStayUntilTheSourceIsAnotherOne() {
        val source = Fixtures.copied("tiny")
        copies.open(FileSource(source)).install(Fixtures.file("updates/later.zip"))
        assertTrue("later" in copies.open(FileSource(source)).tasks)
        TaskBundle.open(source).remove("alpha") // as a new version of the app might bring it
        assertEquals(listOf("beta", "gamma"), copies.open(FileSource(source)).tasks)
        source.deleteRecursively()
    }

    @Test
    fun aStoppedCopyLeavesNothing() {
        var count = 0
        assertThrows(StoppedException::class.java) { copies.open(given { count++ }) { count > 3 } }
        assertEquals(4, count)
        assertEquals(listOf<String>(), present())
    }

    @Test
    fun aCopyThatFailsKeepsTheOldOne() {
        copies.open(tiny)
        refuses<BundleException>("tiny cannot be copied (it broke); try again") {
            copies.copy(given { if (it.name == "model.pte") throw IOException("it broke") })
        }
        refuses<BundleException>("the app has no permission; pick the directory again") {
            copies.copy(given { throw SecurityException("Permission Denial") })
        }
        assertEquals(listOf("tiny"), present())
        assertEquals(3, copies.open(tiny).tasks.size)
    }

    @Test
    fun aDamagedBundleIsNotKept() {
        val damaged = Fixtures.copied("tiny")
        RandomAccessFile(File(damaged, "model.pte"), "rw").use {
            it.seek(100)
            it.write("other".toByteArray())
        }
        refuses<BundleException>("model.pte is damaged or from another directory: SHA-256") {
            copies.open(FileSource(damaged))
        }
        assertEquals(listOf<String>(), present())
        damaged.deleteRecursively()
    }

    @Test
    fun whatAProcessThatWasKilledLeftIsTheOldCopyOrTheNewOne() {
        val whole = Fixtures.file("tiny")
        val left = listOf(
            listOf("tiny", ".tiny"), // while it copied
            listOf("..old-tiny", ".tiny"), // between the two renames
            listOf("tiny", "..old-tiny") // before it removed the old one
        )
        for (names in left) {
            for (name in names) whole.copyRecursively(File(own, name))
            copies.tidy()
            assertEquals("$names", listOf("tiny"), present())
            assertEquals(3, TaskBundle.open(File(own, "tiny")).tasks.size)
            File(own, "tiny").deleteRecursively()
        }
    }

    @Test
    fun otherDirectoriesAreRefused() {
        refuses<BundleException>("Downloads has no manifest.json; expected a directory that") {
            copies.open(Made("Downloads", listOf(Made("film.mp4"))))
        }
        for (name in listOf("../../x", "..", "")) {
            refuses<BundleException>("'$name' is not a file's name") {
                copies.open(Made("b", listOf(Made("manifest.json"), Made(name))))
            }
        }
        assertFalse(File(folder.root, "x").exists())
        assertEquals(listOf<String>(), present())
    }

    @Test
    fun aNameIsThatOfAFile() {
        val odd = object : Source by tiny {
            override val name = "../tiny: one"
        }
        copies.open(odd)
        assertEquals(listOf("_tiny__one"), copies.names)
    }
}
