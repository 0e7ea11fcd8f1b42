package io.hydraopt.demo

import android.content.Intent
import android.net.Uri
import android.view.View
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.RuntimeEnvironment

/** Bundles are chosen, and copied from other apps. */
class BundleScreenTest : ScreenCase() {
    @Test
    fun aBundleThatIsHalfPushedIsTold() {
        Fixtures.cut(File(Fixtures.copied("zoo", Phone.pushed, "half"), "shared.pack"))
        start()
        assertEquals("No bundle is open", phone.text(R.id.bundle_name))
        phone.tap(R.id.bundle)
        phone.await("both bundles") { phone.rows == listOf("half", "zoo") }
        phone.tapRow("half")
        phone.await("an error") { "bundle half is incomplete" in phone.text(R.id.error) }
        assertTrue("${Phone.log}", Phone.log.any { "shared.pack is damaged" in it })
        phone.awaitRest()
        phone.tap(R.id.bundle)
        phone.await("both bundles") { phone.rows == listOf("half", "zoo") }
        phone.tapRow("zoo")
        phone.await("zoo") { phone.text(R.id.bundle_name) == "zoo" }
        assertEquals(View.GONE, phone.view<View>(R.id.error).visibility)
    }

    private fun pick(document: String) {
        phone.tap(R.id.bundle)
        phone.dialog!!.getButton(android.app.AlertDialog.BUTTON_POSITIVE)!!.performClick()
        phone.idle()
        val tree = Uri.parse("content://${Documents.AUTHORITY}/tree/${Uri.encode(document)}")
        answerPicker(Intent.ACTION_OPEN_DOCUMENT_TREE, tree)
        phone.awaitRest()
    }

    @Test
    fun aDirectoryOfAnotherAppIsCopied() {
        Documents.serve(Fixtures.bundle("slow"))
        start()
        pick("slow")
        assertEquals("slow", phone.text(R.id.bundle_name))
        val copies = File(RuntimeEnvironment.getApplication().filesDir, "bundles")
        assertEquals(listOf("slow"), copies.list()!!.toList())
        val names = { file: File -> file.walk().map { it.toRelativeString(file) }.toSet() }
        assertEquals(names(Fixtures.bundle("slow")) + ".copied", names(File(copies, "slow")))
    }

    @Test
    fun aDirectoryWithoutPermissionIsTold() {
        Documents.serve(Fixtures.bundle("slow"), permitted = false)
        start()
        pick("slow")
        assertTrue(phone.text(R.id.error).startsWith("slow was not copied: it cannot be read"))
        assertTrue("${Phone.log}", Phone.log.any { "the app has no permission" in it })
        assertEquals("zoo", phone.text(R.id.bundle_name))
    }
}
